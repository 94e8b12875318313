"""Sampling: which token follows, from the logits of many sequences at once, each by rules of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_models.generation.chance import uniform

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
_LARGEST = 1e300
"""Of a logit that a penalty changes: beyond it none is likelier than another."""


@dataclass(frozen=True)
class SamplingRules:
    """How one sequence is sampled. The rules apply in the order of the fields."""

    seed: int = 0
    """Below 2^64."""
    repetition_penalty: float = 1.0
    """Logits of tokens that the sequence has had are divided by it where they are positive, else multiplied (Keskar et
    al., CTRL, 2019, section 4.1); above 0, and 1 changes nothing."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """What is added to the logits of some tokens; minus infinity bars one."""
    temperature: float = 1.0
    """Logits are divided by it; 0: the largest logit wins, the lowest id among equals."""
    top_k: int = 0
    """Only so many tokens of the largest logits may follow, the lower ids among equals; 0: all."""
    top_p: float = 1.0
    """Of the tokens in the order of their probability only as many as are needed to reach it (Holtzman et al., The
    Curious Case of Neural Text Degeneration, 2020, section 3.1), one at least; in (0, 1]."""

    @property
    def is_ranked(self) -> bool:
        """Whether the order of the logits decides what may follow."""
        return self.temperature > 0 and (self.top_k > 0 or self.top_p < 1)


def sample(
    logits: NDArray[Any], rules: Sequence[SamplingRules], counts: Any, histories: Sequence[Sequence[int]]
) -> tuple[I64, F64]:
    """The tokens [K] that follow, and their log-probabilities [K].

    The draw of a row follows from its own logits, seed and count alone, whatever rows are beside it: with logits that
    are equal it is equal, and with logits that differ by rounding it differs as seldom as they do, about once in a
    million steps of float32.

    Args:
        logits: [K, V]; log-probabilities will do.
        rules: [K].
        counts: [K] how many tokens were drawn from the row's seed before.
        histories: [K] the tokens that each sequence has had, looked at where there is a repetition penalty; those
            beyond V count for nothing.

    Returns:
        The log-probability is that which the model gave the token, before any of the rules.
    """
    given = logits.astype(np.float64)
    log_probs = log_softmax(given)
    wanted = _weighed(given, rules, histories)
    temperatures = np.array([one.temperature for one in rules])
    tokens = wanted.argmax(axis=1)
    drawn = np.flatnonzero(temperatures > 0)
    if drawn.size:
        # The largest at 0: no temperature, however small, makes of two of them the same infinity.
        with np.errstate(over="ignore"):
            scaled = (wanted[drawn] - wanted[drawn].max(axis=1, keepdims=True)) / temperatures[drawn, None]
        _bar(scaled, [rules[row] for row in drawn.tolist()])
        seeds = np.array([rules[row].seed for row in drawn.tolist()], np.uint64)
        tokens[drawn] = _draw(scaled, uniform(seeds, np.asarray(counts)[drawn]))
    return tokens, log_probs[np.arange(len(tokens)), tokens]


def log_softmax(logits: F64) -> F64:
    """[K, V] of [K, V]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: F64 = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _weighed(logits: F64, rules: Sequence[SamplingRules], histories: Sequence[Sequence[int]]) -> F64:
    # With repetition penalties and biases; the argument itself where there are none.
    if all(one.repetition_penalty == 1 and not one.logit_bias for one in rules):
        return logits
    logits = logits.copy()
    for row, (one, history) in enumerate(zip(rules, histories, strict=True)):
        if one.repetition_penalty != 1 and len(history):
            had = np.unique(np.asarray(history, np.int64))
            had = had[had < logits.shape[1]]  # a model may take more ids than it gives
            values = logits[row, had]
            factor = np.where(values > 0, 1 / one.repetition_penalty, one.repetition_penalty)
            with np.errstate(over="ignore"):
                logits[row, had] = np.clip(values * np.minimum(factor, _LARGEST), -_LARGEST, _LARGEST)
        for token, bias in one.logit_bias.items():
            logits[row, token] += bias
    return logits


def _bar(logits: F64, rules: Sequence[SamplingRules]) -> None:
    # Minus infinity for what must not follow by top_k and top_p.
    ranked = [row for row, one in enumerate(rules) if one.is_ranked]
    if not ranked:
        return
    orders = np.argsort(-logits[ranked], axis=1, kind="stable")
    for row, order in zip(ranked, orders, strict=True):
        one = rules[row]
        kept = order[: one.top_k or len(order)]
        if one.top_p < 1:
            weights = np.exp(logits[row, kept] - logits[row, kept[0]])
            before = np.cumsum(weights) - weights  # of those that are likelier
            kept = kept[: max(1, int((before < one.top_p * weights.sum()).sum()))]
        chosen = logits[row, kept]
        logits[row] = -np.inf
        logits[row, kept] = chosen


def _draw(logits: F64, chance: F64) -> I64:
    # By the inverse of the cumulative distribution, in the order of the ids.
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    sums = np.cumsum(weights, axis=1)
    wanted = chance[:, None] * sums[:, -1:]
    tokens = (sums <= wanted).sum(axis=1)
    # Rounding may bring the last sum down to what is wanted; the last token that may follow is meant then.
    last = weights.shape[1] - 1 - (weights[:, ::-1] > 0).argmax(axis=1)
    drawn: I64 = np.minimum(tokens, last)
    return drawn
