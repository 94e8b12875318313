"""The fake server's sessions as bytes, in the contract's format."""

from __future__ import annotations

import hashlib
import json
import struct

import numpy as np
from google.protobuf.message import DecodeError

from elman.testing._model import FakeModel, Values
from elman.testing._refusal import Refusal
from elman.testing._sessions import FakeSession
from elman.v1 import sessions_pb2

FORMAT = 1
_NAME = "state.h"


def fingerprint(model: FakeModel) -> str:
    """Of a fake model: of its name, version and sizes."""
    return hashlib.sha256(f"{model.name} {model.version} {model.features} {model.state_size}".encode()).hexdigest()


def write_exported(session: FakeSession) -> bytes:
    """A serialized `ExportedSession`."""
    tensors = _file(session.state)
    message = sessions_pb2.ExportedSession(
        format=FORMAT,
        model=session.model.name,
        version=session.model.version,
        fingerprint=fingerprint(session.model),
        session_id=session.id,
        position=session.position,
        tensors=tensors,
        sha256=hashlib.sha256(tensors).digest(),
    )
    return message.SerializeToString(deterministic=True)


def read_exported(data: bytes) -> sessions_pb2.ExportedSession:
    """The inverse of `write_exported`. Raises Refusal."""
    try:
        message = sessions_pb2.ExportedSession.FromString(data)
    except DecodeError:
        text = f"exported: {len(data)} bytes are no ExportedSession, or one cut short"
        raise Refusal("INVALID_INPUT", text) from None
    if message.format > FORMAT:
        raise Refusal(
            "INVALID_INPUT",
            f"exported: format {message.format} is newer than this server's, which reads up to {FORMAT}; import it "
            "with a server as new as the one that exported it",
        )
    if not message.format:
        raise Refusal("INVALID_INPUT", "exported: expected a serialized ExportedSession with its format, got none")
    if hashlib.sha256(message.tensors).digest() != message.sha256:
        text = "exported: the tensors are not those of its sha256: it was cut short, or damaged"
        raise Refusal("INVALID_INPUT", text)
    return message


def state_of(message: sessions_pb2.ExportedSession) -> Values:
    """[state_size] the state of an exported session."""
    (size,) = struct.unpack_from("<Q", message.tensors)
    return np.frombuffer(message.tensors, np.float32, offset=8 + size).copy()


def _file(state: Values) -> bytes:
    # A safetensors file of one tensor.
    entry = {"dtype": "F32", "shape": [1, 1, len(state)], "data_offsets": [0, state.nbytes]}
    header = json.dumps({_NAME: entry}).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + state.astype("<f4").tobytes()
