"""Beam search: the sequences that are kept, whatever computes what follows each of them."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


class Hypothesis(NamedTuple):
    """A sequence."""

    tokens: tuple[int, ...]
    log_probs: tuple[float, ...]
    """Of each token."""
    score: float
    """Their sum, divided by their number to the power of the length penalty."""
    kept: Any = None
    """What the caller keeps of an ended one: the state before its last token, say."""


class BeamSearch:
    """The likeliest sequences, `width` at a time; the score of one is its log-probability over its length to the power
    of `length_penalty` (Wu et al., Google's Neural Machine Translation System, 2016, section 7, without the constant).

    A sequence ends with a token of `stop`, with a sequence of `stop_sequences`, or after `max_steps`. It is over when
    `width` have ended and none of those that live can come to a better score than the worst of these, or when none
    lives.
    """

    def __init__(
        self,
        width: int,
        max_steps: int,
        length_penalty: float = 0.0,
        stop: Collection[int] = (),
        stop_sequences: Sequence[tuple[int, ...]] = (),
    ) -> None:
        self.ended: list[Hypothesis] = []
        """Those that have ended, the best first, `width` at most."""
        self.live: list[Hypothesis] = [Hypothesis((), (), 0.0)]
        """Those that go on, the likeliest first."""
        self._width = width
        self._max_steps = max_steps
        self._penalty = length_penalty
        self._stop = stop
        self._stop_sequences = stop_sequences

    @property
    def is_over(self) -> bool:
        """Whether what has ended is the result."""
        if not self.live:
            return True
        if len(self.ended) < self._width:
            return False
        return max(self._bound(one) for one in self.live) <= self.ended[-1].score

    def advance(self, log_probs: F64) -> list[tuple[int, Hypothesis, bool]]:
        """Goes one token on: from `log_probs` [live, V] of what follows each live one.

        Returns:
            Those sequences that were chosen: the index of the live one that each goes on from, itself, and whether it
            has ended. Those that have not are the live ones from now on, in this order; `end` takes those that have.
        """
        totals = np.array([sum(one.log_probs) for one in self.live])[:, None] + log_probs
        order = np.argsort(-totals, axis=None, kind="stable")
        chosen: list[tuple[int, Hypothesis, bool]] = []
        live: list[Hypothesis] = []
        for rank, flat in enumerate(order.tolist()):
            parent, token = divmod(flat, log_probs.shape[1])
            if len(live) == self._width or totals[parent, token] == -np.inf:
                break
            one = self._longer(self.live[parent], token, float(log_probs[parent, token]))
            has_ended = self._has_ended(one)
            if has_ended and rank >= self._width and len(one.tokens) < self._max_steps:
                continue  # it is not among the likeliest, so it would not have been kept
            chosen.append((parent, one, has_ended))
            if not has_ended:
                live.append(one)
            elif len(one.tokens) == self._max_steps and len(chosen) == self._width:
                break
        self.live = live
        return chosen

    def end(self, one: Hypothesis, kept: Any = None) -> None:
        """Takes one that has ended, if it is among the best; `kept` goes with it."""
        self.ended.append(one._replace(kept=kept))
        self.ended.sort(key=lambda each: -each.score)
        del self.ended[self._width :]

    def is_good(self, one: Hypothesis) -> bool:
        """Whether one that has ended would be among the best."""
        return len(self.ended) < self._width or one.score > self.ended[-1].score

    def _longer(self, one: Hypothesis, token: int, log_prob: float) -> Hypothesis:
        tokens, log_probs = (*one.tokens, token), (*one.log_probs, log_prob)
        return Hypothesis(tokens, log_probs, self._score(sum(log_probs), len(tokens)))

    def _score(self, log_prob: float, length: int) -> float:
        return float(log_prob / length**self._penalty)

    def _has_ended(self, one: Hypothesis) -> bool:
        if len(one.tokens) == self._max_steps or one.tokens[-1] in self._stop:
            return True
        return any(one.tokens[-len(sequence) :] == sequence for sequence in self._stop_sequences)

    def _bound(self, one: Hypothesis) -> float:
        # The best score that it can come to: its log-probability can only fall.
        log_prob = sum(one.log_probs)
        return max(self._score(log_prob, length) for length in (len(one.tokens) + 1, self._max_steps))
