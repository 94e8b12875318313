"""Beams against a look at all sequences there are."""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from elman_models.generation.beams import BeamSearch, Hypothesis
from elman_models.generation.sampling import log_softmax

F64 = NDArray[np.float64]
Tokens = tuple[int, ...]
Scored = list[tuple[Tokens, float]]


@dataclass(frozen=True)
class Language:
    """What follows each sequence: something of its own, the same each time."""

    size: int
    seed: int
    barred: Collection[int] = ()
    """Tokens that never follow."""

    def log_probs(self, tokens: Tokens) -> F64:
        """[size] of what follows."""
        logits = np.random.default_rng([self.seed, len(tokens), *tokens]).normal(size=self.size) * 2
        logits[list(self.barred)] = -np.inf
        result: F64 = log_softmax(logits[None])[0]
        return result

    def log_prob(self, tokens: Tokens) -> float:
        """Of a whole sequence."""
        return sum(float(self.log_probs(tokens[:n])[token]) for n, token in enumerate(tokens))


@dataclass(frozen=True)
class Rules:
    """When a sequence ends, and what it scores."""

    max_steps: int
    stop: Collection[int] = ()
    stop_sequences: Sequence[Tokens] = ()
    penalty: float = 0.0

    def has_ended(self, tokens: Tokens) -> bool:
        """After its last token."""
        is_stopped = tokens[-1] in self.stop or any(
            tokens[-len(sequence) :] == sequence for sequence in self.stop_sequences
        )
        return is_stopped or len(tokens) == self.max_steps


def search(language: Language, rules: Rules, width: int) -> tuple[list[Hypothesis], int]:
    """What is kept, and after how many steps."""
    beams = BeamSearch(width, rules.max_steps, rules.penalty, rules.stop, rules.stop_sequences)
    steps = 0
    while not beams.is_over:
        before = list(beams.live)
        assert 0 < len(before) <= width
        chosen = beams.advance(np.array([language.log_probs(one.tokens) for one in before]))
        steps += 1
        for parent, one, has_ended in chosen:
            assert one.tokens[:-1] == before[parent].tokens
            assert has_ended == rules.has_ended(one.tokens)
            if has_ended and beams.is_good(one):
                beams.end(one, kept=one.tokens)
        assert beams.live == [one for _, one, has_ended in chosen if not has_ended]
    return beams.ended, steps


def all_there_are(language: Language, rules: Rules) -> Scored:
    """Every sequence that can end, the best first."""
    found: Scored = []
    for length in range(1, rules.max_steps + 1):
        for tokens in itertools.product(range(language.size), repeat=length):
            ended = [n for n in range(1, length + 1) if rules.has_ended(tokens[:n])]
            score = language.log_prob(tokens) / length**rules.penalty
            if ended == [length] and score > -np.inf:
                found.append((tokens, score))
    return sorted(found, key=lambda one: -one[1])


RULES = st.builds(
    Rules,
    max_steps=st.integers(1, 4),
    stop=st.sets(st.integers(0, 2), max_size=2),
    stop_sequences=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3).map(tuple), max_size=2),
    penalty=st.sampled_from([0.0, 0.6, 1.0, 2.0, -0.5]),
)
LANGUAGES = st.builds(
    Language, size=st.just(3), seed=st.integers(0, 10**6), barred=st.sets(st.integers(0, 2), max_size=2)
)


@given(language=LANGUAGES, rules=RULES)
def test_beams_as_wide_as_there_are_sequences_keep_all_of_them_the_best_first(language: Language, rules: Rules) -> None:
    kept, _ = search(language, rules, 3**rules.max_steps)
    expected = all_there_are(language, rules)
    assert [one.tokens for one in kept] == [tokens for tokens, _ in expected]
    assert np.allclose([one.score for one in kept], [score for _, score in expected])


@given(language=LANGUAGES, rules=RULES, width=st.integers(1, 8))
def test_narrower_beams_keep_sequences_there_are_and_none_that_is_better(
    language: Language, rules: Rules, width: int
) -> None:
    kept, steps = search(language, rules, width)
    there_are = dict(all_there_are(language, rules))
    scores = [one.score for one in kept]
    assert 0 < len(kept) <= width
    assert len({one.tokens for one in kept}) == len(kept)
    assert scores == sorted(scores, reverse=True)
    assert scores[0] <= max(there_are.values()) + 1e-9
    assert steps <= rules.max_steps
    for one in kept:
        assert np.isclose(one.score, there_are[one.tokens])
        assert np.isclose(sum(one.log_probs), language.log_prob(one.tokens))
        assert len(one.log_probs) == len(one.tokens)
        assert one.kept == one.tokens


@given(language=LANGUAGES, steps=st.integers(1, 6), stop=st.sets(st.integers(0, 2), max_size=1))
def test_a_single_beam_follows_the_likeliest_token(language: Language, steps: int, stop: set[int]) -> None:
    rules, tokens = Rules(steps, stop), ()
    while not tokens or not rules.has_ended(tokens):
        tokens = (*tokens, int(language.log_probs(tokens).argmax()))
    kept, taken = search(language, rules, 1)
    assert kept[0].tokens == tokens
    assert taken == len(tokens)


def after(table: dict[Tokens, list[float]]) -> Any:
    """A language of probabilities that are written down."""

    class Written(Language):
        def log_probs(self, tokens: Tokens) -> F64:
            with np.errstate(divide="ignore"):
                return np.log(np.array(table[tokens]))

    return Written(3, 0)


def test_two_beams_find_what_the_likeliest_token_hides() -> None:
    language = after({(): [0.5, 0.4, 0.1], (0,): [0.4, 0.3, 0.3], (1,): [0.9, 0.05, 0.05]})
    assert search(language, Rules(2), 1)[0][0].tokens == (0, 0)
    best, second = search(language, Rules(2), 2)[0]
    assert (best.tokens, second.tokens) == ((1, 0), (0, 0))
    assert np.allclose([best.score, second.score], np.log([0.36, 0.2]))


@pytest.mark.parametrize(("penalty", "tokens"), [(0.0, (2,)), (1.0, (0, 1)), (3.0, (0, 1)), (-1.0, (2,))])
def test_a_length_penalty_favours_longer_sequences_where_it_is_positive(penalty: float, tokens: Tokens) -> None:
    # log 0.3 = -1.20 of one token; log 0.7 + log 0.4 = -1.27 of two, or -0.64 each.
    language = after({(): [0.7, 0.0, 0.3], (0,): [0.3, 0.4, 0.3]})
    kept, _ = search(language, Rules(2, stop=[2], penalty=penalty), 3)
    assert kept[0].tokens == tokens
    assert np.isclose(kept[0].score, sum(kept[0].log_probs) / len(tokens) ** penalty)


def test_a_search_is_over_when_nothing_that_lives_can_be_better() -> None:
    stopped = [0.0, 0.02, 0.98]
    language = after({(): [0.5, 0.5, 0.0], (0,): stopped, (1,): stopped})
    kept, steps = search(language, Rules(100, stop=[2]), 2)
    assert ([one.tokens for one in kept], steps) == ([(0, 2), (1, 2)], 2)


def test_a_search_goes_on_while_the_next_step_of_what_lives_can_be_better() -> None:
    # (0, 0) has log 0.5 = -0.69, thrice that at the next step; (0, 2), twice log 0.1 = -2.30, is worse.
    language = after({(): [0.6, 0.0, 0.4], (0,): [5 / 6, 0.0, 1 / 6], (0, 0): [0.0, 0.0, 1.0]})
    kept, _ = search(language, Rules(100, stop=[2], penalty=-1.0), 2)
    assert [one.tokens for one in kept] == [(2,), (0, 0, 2)]


def test_a_search_goes_on_while_what_lives_can_be_better_when_it_is_longest() -> None:
    # log 0.7 = -0.36 has ended; log 0.3 = -1.20 is less by half of itself, and more by a tenth.
    language = after({(): [0.3, 0.0, 0.7], **{(0,) * n: [1.0, 0.0, 0.0] for n in range(1, 10)}})
    kept, _ = search(language, Rules(10, stop=[2], penalty=1.0), 1)
    assert [one.tokens for one in kept] == [(0,) * 10]


def test_what_is_not_among_the_likeliest_does_not_end() -> None:
    # The stop at 0.2 is the third: two beams would not have kept it.
    language = after({(): [0.41, 0.39, 0.2], (0,): [0.4, 0.3, 0.3]})
    two, three = (search(language, Rules(2, stop=[1, 2]), width)[0] for width in (2, 3))
    assert [one.tokens for one in two] == [(1,), (0, 0)]
    assert [one.tokens for one in three] == [(1,), (2,), (0, 0)]


def test_sequences_that_cannot_be_do_not_come() -> None:
    kept, _ = search(after({(): [1.0, 0.0, 0.0], (0,): [0.0, 1.0, 0.0]}), Rules(2), 8)
    assert [one.tokens for one in kept] == [(0, 1)]
