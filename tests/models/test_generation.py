"""Which token follows: the sampler against softmax, and against the same rules in plain Python."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from elman_models.generation import sampling
from elman_models.generation.chance import uniform
from elman_models.generation.sampling import SamplingRules, log_softmax, sample
from elman_models.generation.scoring import log_likelihoods, squared_errors

F64 = NDArray[np.float64]
DRAWS = 6000
LOGITS = np.array([0.3, -1.2, 1.7, 0.0, 0.9, -0.4, 0.3, 1.1])
MOST_CHI_SQUARE = 45.0  # of 7 degrees of freedom: one of ten million is above


def softmax(logits: F64) -> F64:
    weights = np.exp(logits - logits.max())
    result: F64 = weights / weights.sum()
    return result


def drawn(logits: F64, draws: int = DRAWS, history: tuple[int, ...] = (), **rules: Any) -> NDArray[np.int64]:
    """Tokens that follow the same logits, one at each count."""
    rows = [SamplingRules(**{"seed": 11, **rules})] * draws
    return sample(np.tile(logits, (draws, 1)), rows, np.arange(draws), [history] * draws)[0]


def chi_square(tokens: NDArray[np.int64], probabilities: F64) -> float:
    seen = np.bincount(tokens, minlength=len(probabilities))
    assert not seen[probabilities == 0].any()
    expected = len(tokens) * probabilities[probabilities > 0]
    return float(((seen[probabilities > 0] - expected) ** 2 / expected).sum())


# ---- how often


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_tokens_come_as_often_as_softmax_says(temperature: float) -> None:
    tokens = drawn(LOGITS, temperature=temperature)
    assert chi_square(tokens, softmax(LOGITS / temperature)) < MOST_CHI_SQUARE
    assert chi_square(tokens, softmax(LOGITS / (temperature * 1.6))) > MOST_CHI_SQUARE  # the bound can be missed


def test_tokens_of_many_seeds_at_one_count_come_as_often_too() -> None:
    rules = [SamplingRules(seed=seed) for seed in range(DRAWS)]
    tokens, _ = sample(np.tile(LOGITS, (DRAWS, 1)), rules, np.full(DRAWS, 3), [()] * DRAWS)
    assert chi_square(tokens, softmax(LOGITS)) < MOST_CHI_SQUARE


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({"top_k": 3}, [2, 7, 4]),
        ({"top_k": 4}, [2, 7, 4, 0]),  # of 0 and 6, which are equal, the lower id
        ({"top_k": 100}, list(range(8))),
        ({"top_p": 1e-9}, [2]),
        ({"top_p": 0.6}, [2, 7, 4]),  # 0.351 + 0.192 + 0.158, the first two being less than 0.6
        ({"top_k": 3, "top_p": 0.7}, [2, 7]),  # of the three alone: 0.500 + 0.275
        ({"logit_bias": {2: -math.inf, 0: -math.inf}}, [1, 3, 4, 5, 6, 7]),
        ({"logit_bias": {2: -math.inf}, "top_k": 2}, [4, 7]),  # barred before they are ranked
    ],
    ids=str,
)
def test_what_may_follow_does_as_often_as_it_should_and_nothing_else(rules: dict[str, Any], kept: list[int]) -> None:
    barred = np.full(8, -np.inf)
    barred[kept] = LOGITS[kept]
    tokens = drawn(LOGITS, **rules)
    assert sorted(set(tokens.tolist())) == sorted(kept)
    assert chi_square(tokens, softmax(barred)) < MOST_CHI_SQUARE


def test_a_temperature_widens_what_top_p_lets_through() -> None:
    # At a temperature of 4 the likeliest three have 0.172 + 0.148 + 0.141: top_p looks at these, not at those of 1.
    kept = np.argsort(-LOGITS, kind="stable")[:4]
    assert set(drawn(LOGITS, temperature=4.0, top_p=0.5).tolist()) == set(kept.tolist())


# ---- the largest logit


def test_at_temperature_0_the_largest_logit_wins_and_the_lowest_id_among_equals() -> None:
    logits = np.array([[0.0, 2.0, 1.0, 2.0], [3.0, 3.0, 3.0, 3.0], [-np.inf, -5.0, -np.inf, -5.0]])
    rules = [SamplingRules(seed=seed, temperature=0.0, top_k=2, top_p=0.1) for seed in range(3)]
    assert sample(logits, rules, [0, 5, 9], [()] * 3)[0].tolist() == [1, 0, 1]


def test_a_temperature_near_0_is_as_0() -> None:
    assert set(drawn(LOGITS, 200, temperature=1e-4).tolist()) == {2}


@pytest.mark.parametrize(
    ("logits", "history", "penalty", "token"),
    [
        ([4.0, 3.0, -1.0], (0,), 2.0, 1),  # 4 becomes 2
        ([4.0, 3.0, -1.0], (0, 0, 0), 1.3, 0),  # 3.08, however often it was there
        ([4.0, 3.0, -1.0], (1, 2), 0.5, 1),  # 6: a penalty below 1 favours what was there
        ([-2.0, -3.0, -3.5], (0,), 2.0, 1),  # -4
        ([-2.0, -3.0, -3.5], (0, 1), 2.0, 2),
        ([4.0, 3.0, -1.0], (), 2.0, 0),
    ],
)
def test_a_repetition_penalty_divides_positive_logits_and_multiplies_negative_ones(
    logits: list[float], history: tuple[int, ...], penalty: float, token: int
) -> None:
    rules = SamplingRules(temperature=0.0, repetition_penalty=penalty)
    tokens, log_probs = sample(np.array([logits]), [rules], [0], [history])
    assert tokens.tolist() == [token]
    assert np.isclose(log_probs[0], log_softmax(np.array([logits]))[0, token])  # before the rule


def test_tokens_that_the_model_takes_and_never_gives_are_not_penalised() -> None:
    rules = SamplingRules(temperature=0.0, repetition_penalty=2.0)
    assert sample(np.array([[4.0, 3.0, -1.0]]), [rules], [0], [[3, 9, 0]])[0].tolist() == [1]


def test_a_bias_is_added_after_the_penalty_and_what_it_bars_never_comes() -> None:
    rules = SamplingRules(temperature=0.0, repetition_penalty=2.0, logit_bias={0: 1.5, 2: -math.inf})
    assert sample(np.array([[4.0, 3.0, 9.0]]), [rules], [0], [[0]])[0].tolist() == [0]  # 4 / 2 + 1.5
    given = np.array([[4.0, 3.0, 9.0]])
    sample(given, [rules], [0], [[0]])
    assert given.tolist() == [[4.0, 3.0, 9.0]]  # the caller's is as it was


# ---- the ends of a distribution


@pytest.mark.parametrize("chance", [0.0, 1 - 2.0**-53, 1.0])
def test_at_the_ends_of_chance_a_token_comes_that_may(monkeypatch: pytest.MonkeyPatch, chance: float) -> None:
    # 1.0 stands for a last sum that rounding has brought down to what is wanted.
    monkeypatch.setattr(sampling, "uniform", lambda seeds, counts: np.full(len(seeds), chance))
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(500, 17)) * 20
    logits[:, [0, 1, 15, 16]] = -np.inf
    logits[:, [2, 14]] = logits.max(axis=1, keepdims=True)  # not so small that their weight vanishes
    tokens, _ = sample(logits, [SamplingRules()] * 500, np.arange(500), [()] * 500)
    assert set(tokens.tolist()) == {2 if chance == 0 else 14}


def test_logits_of_any_size_are_drawn_from() -> None:
    for scale in (1e-300, 1e300):
        tokens = drawn(np.array([1.0, 1.0, -1.0]) * scale, 500)
        assert set(tokens.tolist()) == ({0, 1} if scale > 1 else {0, 1, 2})


# ---- against plain Python, and among neighbours

RULES = st.builds(
    SamplingRules,
    seed=st.integers(0, 2**64 - 1),
    repetition_penalty=st.sampled_from([1.0, 0.7, 1.9]),
    logit_bias=st.dictionaries(st.integers(0, 4), st.sampled_from([-math.inf, -1.0, 2.5]), max_size=3),
    temperature=st.sampled_from([0.0, 0.3, 1.0, 1.7]),
    top_k=st.integers(0, 6),
    top_p=st.sampled_from([1.0, 0.9, 0.45, 0.01]),
)
ROW = st.tuples(
    RULES,
    st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=5, max_size=5),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 4), max_size=6),
)


def plain(rules: SamplingRules, logits: list[float], count: int, history: list[int]) -> int | None:
    """The token; None: rounding may decide."""
    values = list(logits)
    for token in set(history):
        penalty = rules.repetition_penalty
        values[token] = values[token] / penalty if values[token] > 0 else values[token] * penalty
    for token, bias in rules.logit_bias.items():
        values[token] += bias
    order = sorted(range(5), key=lambda token: (-values[token], token))
    if rules.temperature == 0:
        return order[0]
    kept = order[: rules.top_k or 5]
    weights = {t: math.exp((values[t] - values[order[0]]) / rules.temperature) for t in kept}
    total, before, likeliest = math.fsum(weights.values()), 0.0, []
    for token in kept:
        if abs(before - rules.top_p * total) < 1e-9:
            return None
        if not likeliest or before < rules.top_p * total:
            likeliest.append(token)
        before += weights[token]
    wanted = float(uniform(rules.seed, count)) * math.fsum(weights[t] for t in likeliest)
    reached = 0.0
    for token in sorted(likeliest):
        reached += weights[token]
        if abs(reached - wanted) < 1e-9:
            return None
        if reached > wanted:
            return token
    return None


@given(row=ROW)
def test_all_rules_together_are_those_of_plain_python(row: Any) -> None:
    rules, logits, count, history = row
    expected = plain(*row)
    assume(expected is not None)
    tokens, log_probs = sample(np.array([logits]), [rules], [count], [history])
    assert tokens.tolist() == [expected]
    assert np.isclose(log_probs[0], math.log(softmax(np.array(logits))[expected]))


@given(rows=st.lists(ROW, min_size=2, max_size=9), data=st.data())
def test_a_rows_draw_depends_neither_on_its_neighbours_nor_on_their_number(
    rows: list[Any], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(rows))))
    rules, logits, counts, histories = zip(*[rows[i] for i in order], strict=True)
    tokens, log_probs = sample(np.array(logits, np.float32), rules, counts, histories)
    for place, i in enumerate(order):
        one, logit_row, count, history = rows[i]
        alone, score = sample(np.array([logit_row], np.float32), [one], [count], [history])
        assert alone[0] == tokens[place]
        assert np.isclose(score[0], log_probs[place], rtol=1e-12)


def test_logits_and_their_log_probabilities_give_the_same_draws() -> None:
    assert drawn(LOGITS).tolist() == drawn(log_softmax(LOGITS[None])[0]).tolist()


# ---- scores, against torch


def test_log_likelihoods_are_torchs() -> None:
    rng = np.random.default_rng(5)
    logits, targets = (rng.normal(size=(64, 11)) * 30).astype(np.float32), rng.integers(0, 11, 64)
    expected = -torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).double(), torch.from_numpy(targets), reduction="none"
    )
    assert np.allclose(log_likelihoods(logits, targets), expected.numpy(), rtol=1e-12, atol=1e-12)


def test_what_has_no_probability_scores_minus_infinity() -> None:
    scores = log_likelihoods(np.array([[0.0, -np.inf], [0.0, -np.inf]], np.float32), np.array([1, 0]))
    assert scores.tolist() == [-np.inf, 0.0]


@pytest.mark.parametrize("features", [(), (4,), (2, 3)], ids=str)
def test_squared_errors_are_torchs(features: tuple[int, ...]) -> None:
    rng = np.random.default_rng(6)
    given, targets = (rng.normal(size=(7, *features)).astype(np.float32) for _ in range(2))
    errors = torch.nn.functional.mse_loss(
        torch.from_numpy(given).double(), torch.from_numpy(targets).double(), reduction="none"
    )
    assert np.allclose(squared_errors(given, targets), errors.reshape(7, -1).mean(1).numpy(), rtol=1e-12)
