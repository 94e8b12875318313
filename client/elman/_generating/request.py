"""What a session is to generate, checked, as the message that asks for it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex, TypedDict

import numpy as np

from elman._shared.arrays import ArrayLike, to_array, to_sequence
from elman._shared.checks import check_count, check_integer, check_text, check_timeout
from elman._shared.errors import InvalidInputError
from elman._shared.info import ModelInfo
from elman._shared.records import fill_named
from elman.v1 import inference_pb2
from elman.wire import fill_tensor

_MAX_SEED = (1 << 64) - 1


@dataclass(frozen=True)
class Tokens:
    """Feeds back a token that is drawn from the logits of an output; to an input of floats as one 1 among 0."""

    output: str


@dataclass(frozen=True)
class Normal:
    """Feeds back a draw from a normal distribution."""

    mean: str
    """The output that has the mean, of the input's shape."""
    scale: str
    """The output that has the standard deviation, of the same shape."""
    is_log_scale: bool = False
    """Whether it has its logarithm."""


@dataclass(frozen=True)
class Mixture:
    """Feeds back a draw from a mixture of K normal distributions."""

    means: str
    """The output [K * size], for an input [size]."""
    scales: str
    """The output [K * size] or [K]: standard deviations."""
    weights: str
    """The output [K]: logits."""
    is_log_scale: bool = False
    """Whether `scales` has logarithms."""


Feedback = str | Tokens | Normal | Mixture
"""From which output, or outputs, an input is fed; a name: a token of it where the input is ids, else its values."""
Stop = Sequence[int | Sequence[int]]


class GenerateOptions(TypedDict, total=False):
    """How a session generates; see `Session.generate`."""

    prompt: ArrayLike | None
    """[n, *features], stepped first; several inputs as a dict, as `Session.step` takes them."""
    temperature: float
    """Logits are divided by it, deviations multiplied by its root; 0: the likeliest token, a distribution's mean."""
    top_k: int
    """Only so many of the likeliest tokens are drawn from; by default all."""
    top_p: float
    """Only the likeliest tokens that together reach it are drawn from, in (0, 1]; by default all."""
    seed: int | None
    """Below 2^64: the same draws the same. None: a random one."""
    repetition_penalty: float
    """Logits of tokens that there were are divided by it, or multiplied where they are negative; above 0."""
    logit_bias: Mapping[int, float]
    """Added to the logits of some tokens; minus infinity bars one."""
    stop: Stop
    """Tokens, and lists of tokens, after which it ends; they are told, too."""
    beams: int | None
    """Keeps so many sequences, 2 to 64, and gives the likeliest, all at once."""
    length_penalty: float
    """With beams: log-probabilities are divided by the length to this power, -16 to 16; by default 0."""
    given: Mapping[str, ArrayLike]
    """[max_steps, *features] of each input that is not fed back."""
    feedback: Mapping[str, Feedback]
    """By input: the output that it is fed from, or `Tokens`, `Normal` or `Mixture`. By default what can be meant."""
    timeout: float | None
    """Seconds for all of it; None: none."""


def check_options(options: GenerateOptions) -> None:
    """Raises TypeError for what is no option, InvalidInputError for a timeout that is none."""
    unknown = set(options) - set(GenerateOptions.__annotations__)
    if unknown:
        known = ", ".join(GenerateOptions.__annotations__)
        raise TypeError(f"generate: expected some of {known}, got {', '.join(sorted(unknown))}")
    check_timeout("timeout", options.get("timeout"))


def are_one_hot(info: ModelInfo, options: GenerateOptions) -> bool:
    """Whether the steps of a model of one input are tokens that are fed as one 1 among 0."""
    feedback = list((options.get("feedback") or {}).values())
    is_alone = len(info.inputs) == 1 and not info.inputs[0].num_embeddings
    return is_alone and any(isinstance(one, Tokens) for one in feedback)


def generate_request(info: ModelInfo, max_steps: int, options: GenerateOptions) -> inference_pb2.GenerateRequest:
    """The message. Raises TypeError, InvalidInputError."""
    request = inference_pb2.GenerateRequest(
        model=info.name,
        max_steps=_small("max_steps", max_steps),
        sampling=_sampling(options),
        beams=0 if options.get("beams") is None else _small("beams", options["beams"]),
        length_penalty=_number("length_penalty", options.get("length_penalty", 0.0)),
    )
    if options.get("prompt") is not None:
        prompt, _ = to_sequence(options["prompt"], info, None, "prompt")
        if len(info.inputs) > 1:
            fill_named(request.inputs, info.inputs, prompt)
        else:
            fill_tensor(request.input, prompt, info.inputs[0].wire_dtype)
    _add_given(request, info, options.get("given"))
    _add_feedback(request, options.get("feedback"))
    _add_stops(request, options.get("stop", ()))
    return request


def _sampling(options: GenerateOptions) -> inference_pb2.Sampling:
    given = options.get("seed")
    seed = secrets.randbits(64) if given is None else given
    check_integer("seed", seed, 0, _MAX_SEED)
    sampling = inference_pb2.Sampling(seed=seed)
    for name in ("temperature", "top_p", "repetition_penalty"):
        if name in options:
            setattr(sampling, name, _number(name, options[name]))
    if "top_k" in options:
        sampling.top_k = _small("top_k", options["top_k"])
    if "logit_bias" in options:
        if not isinstance(options["logit_bias"], Mapping):
            raise TypeError(f"logit_bias: expected a dict of numbers by token, got {options['logit_bias']!r}")
        for token, bias in options["logit_bias"].items():
            sampling.logit_bias[_token("logit_bias", token)] = _number("logit_bias", bias)
    return sampling


def _add_given(request: inference_pb2.GenerateRequest, info: ModelInfo, given: Mapping[str, ArrayLike] | None) -> None:
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise TypeError(f"given: expected a dict of inputs by name, got {given!r}")
    fields = {one.name: one for one in info.inputs}
    for name, value in given.items():
        if name not in fields:
            known = ", ".join(map(repr, fields))
            raise InvalidInputError(f"given: expected inputs of the model, {known}, got {name!r}")
        array = to_array(value, fields[name].dtype, f"given[{name!r}]")
        fill_tensor(request.given.add(name=name).tensor, array, fields[name].wire_dtype)


def _add_feedback(request: inference_pb2.GenerateRequest, feedback: Mapping[str, Feedback] | None) -> None:
    if feedback is None:
        return
    if not isinstance(feedback, Mapping):
        raise TypeError(f"feedback: expected a dict of outputs by input, got {feedback!r}")
    kinds = inference_pb2.Feedback
    for name, one in feedback.items():
        check_text("feedback", name)
        if isinstance(one, str):
            request.feedback.add(input=name, output=one)
        elif isinstance(one, Tokens):
            request.feedback.add(input=name, output=one.output, kind=kinds.KIND_TOKENS)
        elif isinstance(one, Normal):
            request.feedback.add(
                input=name, output=one.mean, kind=kinds.KIND_NORMAL, scale=one.scale, is_log_scale=one.is_log_scale
            )
        elif isinstance(one, Mixture):
            request.feedback.add(
                input=name,
                output=one.means,
                kind=kinds.KIND_MIXTURE,
                scale=one.scales,
                is_log_scale=one.is_log_scale,
                weights=one.weights,
            )
        else:
            raise TypeError(f"feedback: expected the name of an output, Tokens, Normal or Mixture, got {one!r}")


def _add_stops(request: inference_pb2.GenerateRequest, stop: Stop) -> None:
    if isinstance(stop, str | bytes) or not isinstance(stop, Iterable):
        raise TypeError(f"stop: expected a list of tokens and of lists of tokens, got {stop!r}")
    for one in stop:
        if isinstance(one, SupportsIndex):
            request.stop.append(_token("stop", one))
        elif isinstance(one, Iterable) and not isinstance(one, str | bytes):
            request.stop_sequences.add(tokens=[_token("stop", token) for token in one])
        else:
            raise TypeError(f"stop: expected tokens and lists of tokens, got {one!r}")


def _token(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(f"{name}: expected a token's id, got {value!r}")
    token = value.__index__()
    check_integer(name, token, 0, (1 << 62) - 1)
    return token


def _small(name: str, value: object) -> int:
    count = check_count(name, value)
    check_integer(name, count, 1, (1 << 31) - 1)
    return count


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    return float(value)
