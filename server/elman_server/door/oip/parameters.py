"""Parameters: what a request says beside its tensors."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from elman_server.door.oip.status import Unsupported
from elman_server.door.oip.stubs.grpc_service_pb2 import InferParameter
from elman_server.errors import InvalidInput
from elman_server.exchange.frames import Want
from elman_server.exchange.session_calls.ids import EXPECTED, INTEGER, MAX_ID_LENGTH, STRING, is_session_id

MAX_POSITION = 1 << 62

_WANTS = {"all": Want.ALL, "last": Want.LAST, "none": Want.NONE}


@dataclass(slots=True)
class Parameters:
    """Those that mean something here."""

    session_id: str = ""
    """Of the sequence's session; empty: the request is stateless."""
    start: bool = False
    end: bool = False
    timeout_seconds: float | None = None
    """From arrival."""
    position: int | None = None
    """Of the sequence's first step here."""
    want: Want = Want.ALL
    decoupled: bool = False
    """Whether a chunk may be answered slice by slice."""
    is_plain_step: bool = False
    """Whether it is of a sequence that goes on, and names no more than that."""

    def deadline(self, arrived: float) -> float:
        """Of a request that came then, on the same clock; infinity for none."""
        return math.inf if self.timeout_seconds is None else arrived + self.timeout_seconds

    @property
    def sequence_id(self) -> str:
        """The sequence's id as the caller wrote it."""
        return self.session_id[len(INTEGER) :]


def read_parameters(field: Mapping[str, InferParameter]) -> Parameters:
    """The parameters of a request; those that are unknown mean nothing.

    Raises:
        InvalidInput: one has a wrong type or value.
        Unsupported: one asks for what is not there.
    """
    parameters = Parameters()
    for name in field:
        reader = _READERS.get(name)
        if reader:
            reader(parameters, name, field[name])
    has_more = parameters.start or parameters.end or parameters.decoupled or parameters.position is not None
    parameters.is_plain_step = bool(parameters.session_id) and not has_more
    return parameters


def refuse_shared_memory(field: Mapping[str, InferParameter]) -> None:
    """Raises Unsupported where a tensor's parameters ask for shared memory or classification."""
    for name in field:
        if name.startswith("shared_memory") or name == "classification":
            raise Unsupported(f"'{name}' is not supported by this server")


def _read_id(parameters: Parameters, name: str, value: InferParameter) -> None:
    kind = value.WhichOneof("parameter_choice")
    if kind == "string_param":
        text = value.string_param
        parameters.session_id = STRING + text if text else ""
        if text and not is_session_id(parameters.session_id):
            raise InvalidInput(f"'{name}': expected {EXPECTED}, got {text[:MAX_ID_LENGTH]!r}")
    elif kind in ("int64_param", "uint64_param"):
        number = value.int64_param if kind == "int64_param" else value.uint64_param
        parameters.session_id = f"{INTEGER}{number}" if number else ""
    else:
        raise _wrong_type(name, "int64_param or string_param")


def _read_start(parameters: Parameters, name: str, value: InferParameter) -> None:
    parameters.start = _flag(name, value)


def _read_end(parameters: Parameters, name: str, value: InferParameter) -> None:
    parameters.end = _flag(name, value)


def _read_decoupled(parameters: Parameters, name: str, value: InferParameter) -> None:
    parameters.decoupled = _flag(name, value)


def _read_timeout(parameters: Parameters, name: str, value: InferParameter) -> None:
    microseconds = _number(name, value)
    parameters.timeout_seconds = microseconds / 1e6 if microseconds else None  # 0: none, as for Triton


def _read_position(parameters: Parameters, name: str, value: InferParameter) -> None:
    parameters.position = _number(name, value)


def _read_want(parameters: Parameters, name: str, value: InferParameter) -> None:
    if value.string_param not in _WANTS:
        raise InvalidInput(f"'{name}': expected one of {', '.join(_WANTS)}, got {value.string_param[:32]!r}")
    parameters.want = _WANTS[value.string_param]


def _flag(name: str, value: InferParameter) -> bool:
    if value.WhichOneof("parameter_choice") != "bool_param":
        raise _wrong_type(name, "bool_param")
    return value.bool_param


def _number(name: str, value: InferParameter) -> int:
    kind = value.WhichOneof("parameter_choice")
    if kind not in ("int64_param", "uint64_param"):
        raise _wrong_type(name, "int64_param")
    number = value.int64_param if kind == "int64_param" else value.uint64_param
    if not 0 <= number < MAX_POSITION:
        raise InvalidInput(f"'{name}': expected 0 to 2^62 - 1, got {number}")
    return number


def _wrong_type(name: str, expected: str) -> InvalidInput:
    return InvalidInput(f"invalid value type for '{name}' parameter, expected {expected}")


_READERS: dict[str, Callable[[Parameters, str, InferParameter], None]] = {
    "sequence_id": _read_id,
    "sequence_start": _read_start,
    "sequence_end": _read_end,
    "timeout": _read_timeout,
    "position": _read_position,
    "return": _read_want,
    "decoupled": _read_decoupled,
}
