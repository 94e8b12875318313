"""Files of exported sessions: `ExportedSessions` of the contract, written session by session."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from elman.v1 import sessions_pb2, sessions_pb2_grpc
from elman_server.cli.connection import Connection


class SessionFileError(Exception):
    """A file that cannot be written, or is not one of sessions; the message names it."""


def write_sessions(connection: Connection, model: str, ids: Sequence[str], path: str) -> dict[str, str]:
    """Exports sessions into a new file, which is there once it is whole; what failed, by id. Where one fails there is
    no file.

    Raises:
        SessionFileError: the file exists, or cannot be written.
        grpc.RpcError: the server cannot be reached.
    """
    stub: Any = sessions_pb2_grpc.SessionsStub(connection.channel)
    target, partial = Path(path), Path(f"{path}.partial")
    if target.exists():
        raise SessionFileError(f"{path}: exists; it is not overwritten")
    errors: dict[str, str] = {}
    try:
        with partial.open("wb") as file:
            for session_id in ids:
                request = sessions_pb2.ExportSessionRequest(model=model, session_id=session_id)
                try:
                    exported = connection.call(stub.ExportSession, request).exported
                except grpc.RpcError as error:
                    errors[session_id] = _told(error)
                    continue
                # The parts of a message may follow each other: they are one message to whoever reads them.
                file.write(sessions_pb2.ExportedSessions(sessions=[exported]).SerializeToString())
            file.write(sessions_pb2.ExportedSessions(count=len(ids)).SerializeToString())
        if not errors:
            partial.rename(target)
    except OSError as error:
        raise SessionFileError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return errors


def read_sessions(path: str) -> list[bytes]:
    """The serialized `ExportedSession`s of a file.

    Raises:
        SessionFileError: it cannot be read, is no such file, or was cut short.
    """
    try:
        message = sessions_pb2.ExportedSessions.FromString(Path(path).read_bytes())
    except OSError as error:
        raise SessionFileError(f"{path}: cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise SessionFileError(f"{path}: no file of exported sessions, or one that was cut short") from error
    if message.count != len(message.sessions) or not message.count:
        raise SessionFileError(
            f"{path}: says that it has {message.count} sessions, and has {len(message.sessions)}: it is no file of "
            "exported sessions, or was cut short"
        )
    return list(message.sessions)


def import_sessions(connection: Connection, model: str, exported: Sequence[bytes]) -> tuple[list[str], dict[str, str]]:
    """Imports sessions under the ids that they had: the ids, and what failed by id.

    Raises:
        grpc.RpcError: the server cannot be reached.
    """
    stub: Any = sessions_pb2_grpc.SessionsStub(connection.channel)
    ids: list[str] = []
    errors: dict[str, str] = {}
    for number, one in enumerate(exported):
        session_id = _id_of(one) or f"session {number} of the file"
        ids.append(session_id)
        request = sessions_pb2.ImportSessionRequest(model=model, session_id=_id_of(one), exported=one)
        try:
            failed = [error.status.message for error in connection.call(stub.ImportSession, request).errors]
        except grpc.RpcError as error:
            failed = [_told(error)]
        if failed:
            errors[session_id] = f"{session_id}: {failed[0]}"
    return ids, errors


def _id_of(exported: bytes) -> str:
    try:
        return sessions_pb2.ExportedSession.FromString(exported).session_id
    except DecodeError:
        return ""  # which the server will say


def _told(error: Any) -> str:
    # What the server refused of one session; that it cannot be reached is told by `connected`.
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        raise error
    return str(error.details())
