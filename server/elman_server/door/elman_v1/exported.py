"""An exported session as bytes, and back: `ExportedSession` of the contract, a safetensors file within it."""

import hashlib
from collections.abc import Mapping
from typing import Any

import safetensors.numpy
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from safetensors import SafetensorError

from elman.v1 import sessions_pb2
from elman_server.door.elman_v1.read import MAX_POSITION
from elman_server.errors import InvalidInput
from elman_server.exchange.session_calls.exported import Exported

Array = NDArray[Any]

FORMAT = 1
"""The version of the format that is written, and the highest that is read."""
STATE, CONTEXT = "state.", "context."
"""What the names of tensors in the file begin with."""


def write_exported(exported: Exported) -> bytes:
    """A serialized `ExportedSession`."""
    named = {STATE + name: array.copy() for name, array in exported.states.items()}
    named |= {CONTEXT + name: array.copy() for name, array in exported.context.items()}
    tensors = safetensors.numpy.save(named)
    message = sessions_pb2.ExportedSession(
        format=FORMAT,
        model=exported.model,
        version=exported.version,
        fingerprint=exported.fingerprint,
        session_id=exported.session_id,
        position=exported.position,
        tensors=tensors,
        sha256=hashlib.sha256(tensors).digest(),
    )
    return message.SerializeToString(deterministic=True)


def read_exported(data: bytes) -> Exported:
    """The inverse of `write_exported`.

    Raises:
        InvalidInput: it is no export, or a newer server's, or damaged; nothing of it can be used.
    """
    try:
        message = sessions_pb2.ExportedSession.FromString(data)
    except DecodeError as error:
        raise InvalidInput(f"exported: {len(data)} bytes are no ExportedSession, or one cut short") from error
    if message.format > FORMAT:
        raise InvalidInput(
            f"exported: format {message.format} is newer than this server's, which reads up to {FORMAT}; import it "
            "with a server as new as the one that exported it"
        )
    if not message.format:
        raise InvalidInput("exported: expected a serialized ExportedSession with its format, got none")
    if hashlib.sha256(message.tensors).digest() != message.sha256:
        raise InvalidInput("exported: the tensors are not those of its sha256: it was cut short, or damaged")
    if message.position >= MAX_POSITION:
        raise InvalidInput(f"exported: position: expected less than 2^62, got {message.position}")
    tensors = _tensors(message.tensors)
    return Exported(
        model=message.model,
        version=message.version,
        fingerprint=message.fingerprint,
        session_id=message.session_id,
        position=message.position,
        states=_under(STATE, tensors),
        context=_under(CONTEXT, tensors),
    )


def _tensors(data: bytes) -> dict[str, Array]:
    try:
        tensors: dict[str, Array] = safetensors.numpy.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise InvalidInput(f"exported: the tensors are no safetensors file: {error}") from error
    return tensors


def _under(prefix: str, tensors: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
