"""Forms: requests that are known but for some numbers, since one like them was read before."""

from collections.abc import Hashable
from typing import TypeVar

from elman_server.door.oip.inference import Inference
from elman_server.door.oip.parameters import Parameters, read_parameters
from elman_server.door.oip.step_form import StepForm
from elman_server.door.oip.stubs.grpc_service_pb2 import ModelInferRequest
from elman_server.door.oip.stubs.unread_pb2 import UnreadRequest

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_PARAMETERS, MAX_FORMS, MAX_KEY_BYTES = 16_384, 256, 4_096
"""How many are remembered, and of how large messages."""


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
            if known.position is None and _size(key) <= MAX_KEY_BYTES:  # positions do not come again
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
        if form and _size((*unread.inputs, *unread.outputs)) <= MAX_KEY_BYTES:
            _put(self._forms, _key(unread, inference.parameters), form, MAX_FORMS)

    def forget_outdated(self) -> None:
        """Lets go of forms of models that are not loaded any more."""
        for key, form in list(self._forms.items()):
            if form.target.is_outdated:
                self._forms.pop(key, None)


def _key(unread: UnreadRequest, parameters: Parameters) -> Hashable:
    return unread.model_name, unread.model_version, tuple(unread.inputs), tuple(unread.outputs), parameters.want


def _size(key: tuple[bytes, ...]) -> int:
    return sum(map(len, key))


def _put(known: dict[K, V], key: K, value: V, most: int) -> None:
    # What is in use is soon there again.
    if len(known) >= most:
        known.clear()
    known[key] = value
