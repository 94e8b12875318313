"""The names of a fake model's tensors: one input, one output, no context. Others are refused in the server's words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from elman.testing._refusal import Refusal
from elman.v1 import inference_pb2, tensor_pb2

INPUT: Final = "input"
OUTPUT: Final = "output"
HasInput = (
    inference_pb2.StepRequest | inference_pb2.InferRequest | inference_pb2.GenerateRequest | inference_pb2.ScoreRequest
)


def input_of(request: HasInput) -> tensor_pb2.Tensor:
    """The input, by its name or without. Raises Refusal."""
    if not request.inputs:
        return request.input
    if request.HasField("input"):
        raise Refusal("INVALID_INPUT", "input: expected it or `inputs`, got both")
    _check([one.name for one in request.inputs], "inputs", INPUT)
    return request.inputs[0].tensor


def check_outputs(names: Iterable[str]) -> None:
    """Raises Refusal unless none is named, or the one that there is."""
    _check(list(names), "outputs", OUTPUT)


def context_names(context: Iterable[tensor_pb2.NamedTensor]) -> list[str]:
    """Those that came. Raises Refusal where one is repeated."""
    names: list[str] = []
    for one in context:
        if one.name in names:
            raise Refusal("INVALID_INPUT", f"context: each name may stand once, and {one.name!r} is repeated")
        names.append(one.name)
    return names


def check_context(names: Sequence[str]) -> None:
    """Raises Refusal where there are any."""
    if names:
        raise Refusal("INVALID_INPUT", f"context: expected none, got {', '.join(map(repr, names))}")


def check_initial(request: inference_pb2.InferRequest, is_lstm: bool) -> None:
    """Raises Refusal for states by name: they are one stack's."""
    if request.initial_states:
        told = "h_0 and c_0" if is_lstm else "h_0"
        raise Refusal("INVALID_INPUT", f"initial_states: the state of this model is given as {told}")


def _check(names: Sequence[str], kind: str, known: str) -> None:
    for number, name in enumerate(names):
        if name != known:
            raise Refusal("INVALID_INPUT", f"{kind}: expected some of {known!r}, got {name[:64]!r}")
        if name in names[:number]:
            raise Refusal("INVALID_INPUT", f"{kind}: each name may stand once, and {name!r} is repeated")
