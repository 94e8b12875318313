"""Requests to generate into specs: every check that needs no session, each with what was expected and what came."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.v1 import inference_pb2
from elman_models.generation.sampling import SamplingRules
from elman_server.door.elman_v1.read import MAX_POSITION, read_inputs, read_named
from elman_server.errors import CannotGenerate, InvalidInput
from elman_server.exchange.model_view import ModelView
from elman_server.generating.spec import (
    Feedback,
    FeedbackKind,
    FeedbackNames,
    GenerateSpec,
    check_given,
    check_tokens,
    feedback_of,
)

MAX_BEAMS = 64
MAX_STOPS = 1024
"""Stop tokens, stop sequences, and tokens of each."""
MAX_BIASES = 65536
MAX_LENGTH_PENALTY = 16.0
"""Either way: the longest sequence's length to its power is a number still."""


def read_generate(request: inference_pb2.GenerateRequest, max_steps: int, view: ModelView) -> GenerateSpec:
    """What is asked of that model.

    Raises:
        InvalidInput: a number, a name, a shape, a dtype or a token is wrong.
        CannotGenerate: the model cannot be fed what it gives.
    """
    feedback = feedback_of(view, [_names(one) for one in request.feedback])
    if not 1 <= request.max_steps <= max_steps:
        raise InvalidInput(f"max_steps: expected 1 to max_generate_steps, {max_steps}, got {request.max_steps}")
    given = read_named(request.given, "given")
    check_given(view, feedback, given, request.max_steps)
    prompt = _read_prompt(request, view)
    num_tokens = _num_tokens(feedback)
    return GenerateSpec(
        max_steps=request.max_steps,
        feedback=feedback,
        outputs=view.output.bits(sorted({name for one in feedback for name in one.needs})),
        rules=_read_rules(request.sampling, num_tokens),
        stop=frozenset(_tokens(request.stop, num_tokens, "stop")),
        stop_sequences=tuple(_read_sequences(request, num_tokens)),
        prompt=prompt,
        given=given,
        beams=_read_beams(request, feedback),
        length_penalty=_finite(request.length_penalty, "length_penalty"),
    )


def read_position(request: inference_pb2.GenerateRequest | inference_pb2.ScoreRequest) -> int | None:
    """Where it begins, if it says so. Raises InvalidInput."""
    if not request.HasField("position"):
        return None
    if not request.session_id:
        raise InvalidInput("position: expected a session_id with it")
    if request.position >= MAX_POSITION:
        raise InvalidInput(f"position: expected less than 2^62, got {request.position}")
    return request.position


def _names(one: inference_pb2.Feedback) -> FeedbackNames:
    if one.kind not in inference_pb2.Feedback.Kind.values():
        raise InvalidInput(f"feedback, kind: expected one of 0 to 4, got {one.kind}")
    kind = FeedbackKind(one.kind) if one.kind else None
    return FeedbackNames(one.input, one.output, kind, one.scale, one.is_log_scale, one.weights)


def _read_prompt(request: inference_pb2.GenerateRequest, view: ModelView) -> NDArray[Any] | None:
    if request.HasField("input"):
        steps = request.input.shape[0] if request.input.shape else 0
    elif request.inputs:
        shape = request.inputs[0].tensor.shape
        steps = shape[0] if shape else 0
    else:
        return None
    if steps < 1:
        raise InvalidInput("input: a prompt has at least one step, [n, *features]; leave it out to go on without one")
    return read_inputs(request, view, np.array([steps]))


def _num_tokens(feedback: tuple[Feedback, ...]) -> int:
    drawn = [one for one in feedback if one.kind is FeedbackKind.TOKENS]
    return drawn[0].output.features[0] if drawn else 0


def _read_rules(sampling: inference_pb2.Sampling, num_tokens: int) -> SamplingRules:
    def given(name: str, otherwise: float) -> float:
        return _finite(getattr(sampling, name), name) if sampling.HasField(name) else otherwise  # type: ignore[arg-type]

    temperature, top_p = given("temperature", 1.0), given("top_p", 1.0)
    penalty = given("repetition_penalty", 1.0)
    if temperature < 0:
        raise InvalidInput(f"temperature: expected 0 or more, got {temperature:g}")
    if not 0 < top_p <= 1:
        raise InvalidInput(f"top_p: expected more than 0 and at most 1, got {top_p:g}")
    if penalty <= 0:
        raise InvalidInput(f"repetition_penalty: expected more than 0, got {penalty:g}")
    bias: Mapping[int, float] = sampling.logit_bias
    asked = sampling.top_k or top_p < 1 or penalty != 1 or bias
    if asked and not num_tokens:
        raise InvalidInput("top_k, top_p, repetition_penalty and logit_bias are of tokens, and none are drawn here")
    if len(bias) > MAX_BIASES:
        raise InvalidInput(f"logit_bias: expected at most {MAX_BIASES}, got {len(bias)}")
    check_tokens(list(bias), num_tokens, "logit_bias")
    for token, value in bias.items():
        if math.isnan(value) or value == math.inf:
            raise InvalidInput(f"logit_bias of {token}: expected a finite number or minus infinity, got {value}")
    if num_tokens and sum(value == -math.inf for value in bias.values()) == num_tokens:
        raise InvalidInput("logit_bias: bars every token")
    return SamplingRules(sampling.seed, penalty, dict(bias), temperature, sampling.top_k, top_p)


def _read_sequences(request: inference_pb2.GenerateRequest, num_tokens: int) -> list[tuple[int, ...]]:
    if len(request.stop_sequences) > MAX_STOPS:
        raise InvalidInput(f"stop_sequences: expected at most {MAX_STOPS}, got {len(request.stop_sequences)}")
    sequences = [_tokens(one.tokens, num_tokens, "stop_sequences") for one in request.stop_sequences]
    if not all(sequences):
        raise InvalidInput("stop_sequences: each has at least one token, and one has none")
    return sequences


def _tokens(field: Any, num_tokens: int, name: str) -> tuple[int, ...]:
    tokens = tuple(field)
    if tokens and not num_tokens:
        raise InvalidInput(f"{name}: no tokens are drawn here")
    if len(tokens) > MAX_STOPS:
        raise InvalidInput(f"{name}: expected at most {MAX_STOPS} tokens, got {len(tokens)}")
    check_tokens(tokens, num_tokens, name)
    return tokens


def _read_beams(request: inference_pb2.GenerateRequest, feedback: tuple[Feedback, ...]) -> int:
    if request.beams == 0:
        if request.length_penalty:
            raise InvalidInput("length_penalty: is of beams, and there are none")
        return 0
    if not 2 <= request.beams <= MAX_BEAMS:
        raise InvalidInput(f"beams: expected 2 to {MAX_BEAMS}, or 0 for none, got {request.beams}")
    if not _num_tokens(feedback):
        raise CannotGenerate("beams are of tokens, and none are drawn here")
    if abs(request.length_penalty) > MAX_LENGTH_PENALTY:
        expected = f"-{MAX_LENGTH_PENALTY:g} to {MAX_LENGTH_PENALTY:g}"
        raise InvalidInput(f"length_penalty: expected {expected}, got {request.length_penalty:g}")
    return request.beams


def _finite(value: float, name: str) -> float:
    if not math.isfinite(value):
        raise InvalidInput(f"{name}: expected a finite number, got {value}")
    return value
