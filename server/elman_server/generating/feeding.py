"""Feeding: from what many sessions gave to what they are fed next, all at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_models.generation.chance import normal
from elman_models.generation.sampling import ManyRules, SamplingRules, sample
from elman_server.exchange.model_view import StepRecord
from elman_server.generating.spec import Feedback, FeedbackKind

Array = NDArray[Any]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


class Fed:
    """Sessions' next steps."""

    def __init__(self) -> None:
        self.tensors: dict[str, Array] = {}
        """[K, *features] of each input that is fed back, by name."""
        self.tokens: list[int] | None = None
        """[K] where tokens are drawn."""
        self.log_probs: list[float] | None = None
        """[K] of the tokens."""


def feed(
    feedback: Sequence[Feedback],
    record: StepRecord,
    outputs: Array,
    rules: ManyRules,
    counts: I64,
    histories: Sequence[Sequence[int]],
) -> Fed:
    """What follows from `outputs` [K, *features], the record `record`; rules, counts and histories as `sample` takes
    them."""
    given = dict(zip(record.names, record.tensors(outputs), strict=True))
    fed = Fed()
    for one in feedback:
        if one.kind is FeedbackKind.TOKENS:
            tokens, log_probs = sample(logits_of(one, given), rules, counts, histories)
            fed.tokens, fed.log_probs = tokens.tolist(), log_probs.tolist()
            fed.tensors[one.input.name] = token_input(one, tokens)
        elif one.kind is FeedbackKind.VALUES:
            fed.tensors[one.input.name] = given[one.output.name]
        else:
            draw = _normal if one.kind is FeedbackKind.NORMAL else _mixture
            fed.tensors[one.input.name] = draw(one, given, rules, counts).astype(one.input.dtype)
    return fed


def is_nan(record: StepRecord, outputs: Array) -> NDArray[np.bool_]:
    """[K] which of `outputs` [K, *features], the record `record`, have a value that is no number."""
    found = np.zeros(len(outputs), np.bool_)
    for one, tensor in zip(record.fields, record.tensors(outputs), strict=True):
        if one.dtype.kind == "f":
            found |= np.isnan(tensor).reshape(len(outputs), -1).any(axis=1)
    return found


def logits_of(one: Feedback, given: Mapping[str, Array]) -> Array:
    """[K, V] logits or log-probabilities, of the outputs by name."""
    output = given[one.output.name]
    if not one.output.is_probability:
        return output
    with np.errstate(divide="ignore"):
        logits: Array = np.log(output)
    return logits


def token_input(one: Feedback, tokens: I64) -> Array:
    """[K, *features] what the model takes for `tokens` [K]."""
    if one.input.num_embeddings:
        return tokens
    hot = np.zeros((len(tokens), *one.input.features), np.float32)
    hot[np.arange(len(tokens)), tokens] = 1
    return hot


def _normal(one: Feedback, given: dict[str, Array], rules: ManyRules, counts: I64) -> F64:
    assert one.scale is not None  # checked where it was asked for
    mean, scale = given[one.output.name], given[one.scale.name].astype(np.float64)
    return _drawn(mean, np.exp(scale) if one.is_log_scale else scale, rules, counts)


def _mixture(one: Feedback, given: dict[str, Array], rules: ManyRules, counts: I64) -> F64:
    # The weights' logits are divided by the temperature, and the deviations multiplied by its root (Ha and Eck, A
    # Neural Representation of Sketch Drawings, 2017, section 3.2).
    assert one.scale is not None  # checked where it was asked for
    assert one.weights is not None
    weights = given[one.weights.name]
    rows, count = weights.shape
    chosen, _ = sample(
        weights, [SamplingRules(one.seed, temperature=one.temperature) for one in rules.rules], counts, [()] * rows
    )
    means = given[one.output.name].reshape(rows, count, -1)[np.arange(rows), chosen]
    scales = given[one.scale.name].astype(np.float64).reshape(rows, count, -1)[np.arange(rows), chosen]
    return _drawn(means, np.exp(scales) if one.is_log_scale else scales, rules, counts)


def _drawn(mean: Array, scale: F64, rules: ManyRules, counts: I64) -> F64:
    seeds, roots = rules.seeds, np.sqrt([one.temperature for one in rules.rules])
    shape = (-1, *[1] * (mean.ndim - 1))
    draws = np.arange(1, 1 + int(np.prod(mean.shape[1:]))).reshape(1, *mean.shape[1:])  # 0 has chosen among a mixture's
    noise = normal(seeds.reshape(shape), counts.reshape(shape), draws)
    drawn: F64 = mean + roots.reshape(shape) * scale * noise
    return drawn
