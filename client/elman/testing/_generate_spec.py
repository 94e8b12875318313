"""What is asked of a generation of the fake server, checked in the server's words where these are easily had."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from elman.testing import _names as names
from elman.testing._model import FakeModel
from elman.testing._refusal import NotFaked, Refusal
from elman.v1 import inference_pb2, tensor_pb2
from elman.wire import WireError, from_tensor

MAX_GENERATE_STEPS = 65536
_DTYPES = {tensor_pb2.DATA_TYPE_I64: "int64", tensor_pb2.DATA_TYPE_F32: "float32"}


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn; the rules apply in this order."""

    seed: int
    repetition_penalty: float
    logit_bias: Mapping[int, float]
    temperature: float
    top_k: int
    top_p: float


@dataclass(frozen=True)
class GenerateSpec:
    """One generation of a model of one input and one output."""

    max_steps: int
    draws_tokens: bool
    """Whether a token is drawn from the output; else it is fed back as it is."""
    sampling: Sampling
    stop: tuple[int, ...]
    stop_sequences: tuple[tuple[int, ...], ...]
    prompt: npt.NDArray[np.generic] | None
    """[n, *features]"""


def read_spec(request: inference_pb2.GenerateRequest, model: FakeModel) -> GenerateSpec:
    """What is asked of that model. Raises Refusal; NotFaked for beams and for draws from distributions."""
    draws_tokens = _draws_tokens(request, model)
    if not 1 <= request.max_steps <= MAX_GENERATE_STEPS:
        text = f"max_steps: expected 1 to max_generate_steps, {MAX_GENERATE_STEPS}, got {request.max_steps}"
        raise Refusal("INVALID_INPUT", text)
    if request.given:
        text = ", ".join(one.name for one in request.given)
        raise Refusal("INVALID_INPUT", f"given: expected the inputs that are not fed back, none, got {text}")
    num_tokens = model.num_outputs if draws_tokens else 0
    spec = GenerateSpec(
        max_steps=request.max_steps,
        draws_tokens=draws_tokens,
        prompt=_read_prompt(request, model),
        sampling=_read_sampling(request.sampling, num_tokens),
        stop=_tokens(request.stop, num_tokens, "stop"),
        stop_sequences=tuple(_tokens(one.tokens, num_tokens, "stop_sequences") for one in request.stop_sequences),
    )
    if not all(spec.stop_sequences):
        raise Refusal("INVALID_INPUT", "stop_sequences: each has at least one token, and one has none")
    _check_beams(request, draws_tokens)
    return spec


def check_position(request: inference_pb2.GenerateRequest | inference_pb2.ScoreRequest) -> None:
    """Raises Refusal for a position of no session."""
    if request.HasField("position") and not request.session_id:
        raise Refusal("INVALID_INPUT", "position: expected a session_id with it")


def _draws_tokens(request: inference_pb2.GenerateRequest, model: FakeModel) -> bool:
    if len(request.feedback) > 1:
        raise Refusal("INVALID_INPUT", "feedback: each input is fed once, and 'input' stands twice")
    one = request.feedback[0] if request.feedback else inference_pb2.Feedback()
    for kind, name, known in (("input", one.input, names.INPUT), ("output", one.output, names.OUTPUT)):
        if name not in ("", known):
            raise Refusal("INVALID_INPUT", f"feedback, {kind}: expected one of {known!r}, got {name[:64]!r}")
    if one.kind in (one.KIND_NORMAL, one.KIND_MIXTURE):
        raise NotFaked("the fake server draws tokens, and feeds values back; from distributions it draws nothing")
    draws_tokens = one.kind == one.KIND_TOKENS or (one.kind == one.KIND_UNSPECIFIED and model.num_embeddings > 0)
    if draws_tokens:
        _check_tokens(model)
    elif model.num_embeddings or model.num_outputs != model.input_size:
        raise _misfit(model, f"{_DTYPES[model.dtype]} {list(model.features)}")
    return draws_tokens


def _check_tokens(model: FakeModel) -> None:
    if model.num_embeddings and model.num_outputs > model.num_embeddings:
        raise _misfit(model, f"at most {model.num_embeddings} logits")
    if not model.num_embeddings and model.num_outputs != model.input_size:
        raise _misfit(model, f"a logit for each of {list(model.features)}")


def _misfit(model: FakeModel, expected: str) -> Refusal:
    takes = f"ids below {model.num_embeddings}" if model.num_embeddings else f"{list(model.features)}"
    return Refusal(
        "CANNOT_GENERATE",
        f"the model cannot be fed what it gives: input {names.INPUT!r} takes {takes}, which needs {expected}, and "
        f"output {names.OUTPUT!r} gives float32 [{model.num_outputs}]",
    )


def _read_prompt(request: inference_pb2.GenerateRequest, model: FakeModel) -> npt.NDArray[np.generic] | None:
    if not request.HasField("input") and not request.inputs:
        return None
    tensor = names.input_of(request)
    try:
        prompt = from_tensor(tensor, name="input")
    except WireError as error:
        raise Refusal("INVALID_INPUT", str(error)) from None
    if not prompt.ndim or not len(prompt):
        text = "input: a prompt has at least one step, [n, *features]; leave it out to go on without one"
        raise Refusal("INVALID_INPUT", text)
    if prompt.shape[1:] != model.features or tensor.dtype != model.dtype:
        raise Refusal("INVALID_INPUT", f"input: expected features {list(model.features)}")
    return prompt


def _read_sampling(given: inference_pb2.Sampling, num_tokens: int) -> Sampling:
    temperature = _finite(given.temperature, "temperature") if given.HasField("temperature") else 1.0
    top_p = _finite(given.top_p, "top_p") if given.HasField("top_p") else 1.0
    penalty = _finite(given.repetition_penalty, "repetition_penalty") if given.HasField("repetition_penalty") else 1.0
    if temperature < 0:
        raise Refusal("INVALID_INPUT", f"temperature: expected 0 or more, got {temperature:g}")
    if not 0 < top_p <= 1:
        raise Refusal("INVALID_INPUT", f"top_p: expected more than 0 and at most 1, got {top_p:g}")
    if penalty <= 0:
        raise Refusal("INVALID_INPUT", f"repetition_penalty: expected more than 0, got {penalty:g}")
    if (given.top_k or top_p < 1 or penalty != 1 or given.logit_bias) and not num_tokens:
        text = "top_k, top_p, repetition_penalty and logit_bias are of tokens, and none are drawn here"
        raise Refusal("INVALID_INPUT", text)
    bias = dict(given.logit_bias)
    _check_bias(bias, num_tokens)
    return Sampling(given.seed, penalty, bias, temperature, given.top_k, top_p)


def _check_bias(bias: Mapping[int, float], num_tokens: int) -> None:
    _tokens(bias, num_tokens, "logit_bias")
    for token, value in bias.items():
        if math.isnan(value) or value == math.inf:
            text = f"logit_bias of {token}: expected a finite number or minus infinity, got {value}"
            raise Refusal("INVALID_INPUT", text)
    if num_tokens and sum(value == -math.inf for value in bias.values()) == num_tokens:
        raise Refusal("INVALID_INPUT", "logit_bias: bars every token")


def _tokens(given: Iterable[int], num_tokens: int, name: str) -> tuple[int, ...]:
    tokens = tuple(given)
    if tokens and not num_tokens:
        raise Refusal("INVALID_INPUT", f"{name}: no tokens are drawn here")
    for token in tokens:
        if not 0 <= token < num_tokens:
            raise Refusal("INVALID_INPUT", f"{name}: tokens of this model are in [0, {num_tokens}), got {token}")
    return tokens


def _check_beams(request: inference_pb2.GenerateRequest, draws_tokens: bool) -> None:
    if request.beams and not 2 <= request.beams <= 64:
        raise Refusal("INVALID_INPUT", f"beams: expected 2 to 64, or 0 for none, got {request.beams}")
    if request.beams and not draws_tokens:
        raise Refusal("CANNOT_GENERATE", "beams are of tokens, and none are drawn here")
    if request.beams:
        raise NotFaked("the fake server searches with no beams")
    if request.length_penalty:
        raise Refusal("INVALID_INPUT", "length_penalty: is of beams, and there are none")


def _finite(value: float, name: str) -> float:
    if not math.isfinite(value):
        raise Refusal("INVALID_INPUT", f"{name}: expected a finite number, got {value}")
    return value
