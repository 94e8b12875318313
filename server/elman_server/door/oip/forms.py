"""Forms: what requests have in common that are known but for some numbers, since one like them was read before."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import TypeVar

from elman_server.door.oip.inference import Inference
from elman_server.door.oip.parameters import Parameters, read_parameters
from elman_server.door.oip.stubs.grpc_service_pb2 import ModelInferRequest
from elman_server.door.oip.stubs.unread_pb2 import UnreadRequest
from elman_server.door.oip.targets import Target
from elman_server.door.oip.write import write_head
from elman_server.exchange.frames import Want

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_PARAMETERS, MAX_FORMS = 16_384, 256
"""How many are remembered."""
MAX_KEY_BYTES, MAX_KEY_PARTS = 4_096, 32
"""Of how large messages."""


@dataclass(frozen=True, slots=True, eq=False)
class StepForm:
    """What single steps of sequences have in common that differ in their sequence, id and data. Of a model with one
    input and one output."""

    target: Target
    version: str
    """As asked for; empty: any."""
    want: Want
    head: bytes
    """What all answers begin with."""
    num_bytes: int
    """Of the input."""

    @classmethod
    def of(cls, request: ModelInferRequest, inference: Inference) -> "StepForm | None":
        """That of a request that was found good; None where it is no single step of plain tensors."""
        frame, raws, target = inference.frame, request.raw_input_contents, inference.target
        is_single = frame.num_rows == frame.num_steps == len(raws) == 1 and len(raws[0]) == frame.num_bytes
        is_plain = frame.view.input.is_plain and frame.view.output.is_plain
        if not (is_single and is_plain) or frame.want is Want.NONE or frame.want_state:
            return None
        return cls(target, inference.version, frame.want, write_head(target), frame.num_bytes)

    def on(self, target: Target) -> "StepForm":
        """The same on another version of the model."""
        return replace(self, target=target, head=write_head(target))


class Forms:
    """Of one server's requests: parts of messages that are equal, byte by byte, are read once."""

    def __init__(self) -> None:
        self._parameters: dict[tuple[bytes, ...], Parameters] = {}
        self._forms: dict[Hashable, StepForm] = {}

    def parameters(self, unread: UnreadRequest, data: bytes) -> Parameters:
        """A request's parameters, not to be changed. `data`: all of it.

        Raises:
            InvalidInput, Unsupported: as `read_parameters`.
            DecodeError: it does not parse.
        """
        key = tuple(unread.parameters)
        known = self._parameters.get(key)
        if known is None:
            known = read_parameters(ModelInferRequest.FromString(data).parameters)
            if known.position is None and _is_small(key):  # positions do not come again
                _put(self._parameters, key, known, MAX_PARAMETERS)
        return known

    def find(self, unread: UnreadRequest, parameters: Parameters) -> StepForm | None:
        """The form of a request with these parameters, if it is a single step of a kind that was read before."""
        if not parameters.is_plain_step:
            return None
        form = self._forms.get(_key(unread, parameters))
        if form is None or form.target.is_outdated:
            return None
        raws = unread.raw_input_contents
        return form if len(raws) == 1 and len(raws[0]) == form.num_bytes else None

    def learn(self, unread: UnreadRequest, request: ModelInferRequest, inference: Inference) -> None:
        """Remembers the form of a request that was read, if it is such a step."""
        form = StepForm.of(request, inference) if inference.parameters.is_plain_step else None
        if form and _is_small((*unread.inputs, *unread.outputs)):
            _put(self._forms, _key(unread, inference.parameters), form, MAX_FORMS)

    def forget_outdated(self) -> None:
        """Lets go of forms of models that are not loaded any more."""
        for key, form in list(self._forms.items()):
            if form.target.is_outdated:
                self._forms.pop(key, None)


def _key(unread: UnreadRequest, parameters: Parameters) -> Hashable:
    return unread.model_name, unread.model_version, tuple(unread.inputs), tuple(unread.outputs), parameters.want


def _is_small(key: tuple[bytes, ...]) -> bool:
    # An empty part takes memory, too.
    return len(key) <= MAX_KEY_PARTS and sum(map(len, key)) <= MAX_KEY_BYTES


def _put(known: dict[K, V], key: K, value: V, most: int) -> None:
    # In place of what was put first: what is in use is soon there again.
    if len(known) >= most:
        known.pop(next(iter(known)), None)
    known[key] = value
