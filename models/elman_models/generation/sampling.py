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


class ManyRules:
    """The rules of many sequences as columns, made once where the same ones are sampled step by step."""

    def __init__(self, rules: Sequence[SamplingRules]) -> None:
        """[K] the rules, in the order of the sequences."""
        self.rules = rules
        self.seeds = np.array([one.seed for one in rules], np.uint64)
        """[K]."""
        temperatures = np.array([one.temperature for one in rules])
        self.drawn = np.flatnonzero(temperatures > 0)
        """Rows that are drawn; of the others the largest logit wins."""
        self.temperatures = temperatures[self.drawn]
        """[drawn] float64."""
        self.weighed = [r for r, one in enumerate(rules) if one.repetition_penalty != 1 or one.logit_bias]
        """Rows whose logits are changed before they are drawn from."""
        self.ranked = [(d, rules[r]) for d, r in enumerate(self.drawn.tolist()) if rules[r].is_ranked]
        """Those among the drawn of which the order of the logits decides what may follow."""
        self.is_plain = not (self.weighed or self.ranked) and bool((temperatures == 1).all())
        """Whether all are drawn as the model says."""

    def __len__(self) -> int:
        return len(self.rules)


def sample(
    logits: NDArray[Any], rules: Sequence[SamplingRules] | ManyRules, counts: Any, histories: Sequence[Sequence[int]]
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
    many = rules if isinstance(rules, ManyRules) else ManyRules(rules)
    given = logits.astype(np.float64)
    given -= given.max(axis=1, keepdims=True)
    weights = np.exp(given)
    if many.is_plain:
        tokens = _draw(weights, uniform(many.seeds, counts))
    else:
        tokens = _chosen(_weighed(logits, many, histories), many, np.asarray(counts))
    log_probs: F64 = given[np.arange(len(tokens)), tokens] - np.log(weights.sum(axis=1))
    return tokens, log_probs


def log_softmax(logits: F64) -> F64:
    """[K, V] of [K, V]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: F64 = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _weighed(logits: NDArray[Any], many: ManyRules, histories: Sequence[Sequence[int]]) -> F64:
    # With repetition penalties and biases.
    wanted = logits.astype(np.float64)
    for row in many.weighed:
        one, history = many.rules[row], histories[row]
        if one.repetition_penalty != 1 and len(history):
            had = np.unique(np.asarray(history, np.int64))
            had = had[had < wanted.shape[1]]  # a model may take more ids than it gives
            values = wanted[row, had]
            factor = np.where(values > 0, 1 / one.repetition_penalty, one.repetition_penalty)
            with np.errstate(over="ignore"):
                wanted[row, had] = np.clip(values * np.minimum(factor, _LARGEST), -_LARGEST, _LARGEST)
        for token, bias in one.logit_bias.items():
            wanted[row, token] += bias
    return wanted


def _chosen(wanted: F64, many: ManyRules, counts: I64) -> I64:
    tokens: I64 = wanted.argmax(axis=1)
    drawn = many.drawn
    if drawn.size:
        # The largest at 0: no temperature, however small, makes of two of them the same infinity.
        with np.errstate(over="ignore"):
            scaled = (wanted[drawn] - wanted[drawn].max(axis=1, keepdims=True)) / many.temperatures[:, None]
        for row, one in many.ranked:
            _bar(scaled[row], one)
        tokens[drawn] = _draw(np.exp(scaled), uniform(many.seeds[drawn], counts[drawn]))
    return tokens


def _bar(logits: F64, one: SamplingRules) -> None:
    # Minus infinity for what must not follow by top_k and top_p; of [V], the largest at 0, in place.
    size = one.top_k if 0 < one.top_k < len(logits) else len(logits)
    candidates = np.flatnonzero(logits >= np.partition(logits, -size)[-size])  # more than `size` where some are equal
    kept = candidates[np.argsort(-logits[candidates], kind="stable")][:size]
    if one.top_p < 1:
        weights = np.exp(logits[kept])
        before = np.cumsum(weights) - weights  # of those that are likelier
        kept = kept[: max(1, int((before < one.top_p * weights.sum()).sum()))]
    chosen = logits[kept]
    logits[:] = -np.inf
    logits[kept] = chosen


def _draw(weights: F64, chance: F64) -> I64:
    # By the inverse of the cumulative distribution, in the order of the ids.
    sums = np.cumsum(weights, axis=1)
    tokens: I64 = (sums <= chance[:, None] * sums[:, -1:]).sum(axis=1)
    for row in np.flatnonzero(tokens == weights.shape[1]).tolist():
        # Rounding has brought the last sum down to what is wanted; the last token that may follow is meant.
        tokens[row] = np.flatnonzero(weights[row])[-1]
    return tokens
