"""What a session is, as the server lists it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from google.protobuf import timestamp_pb2

from elman.v1 import sessions_pb2


@dataclass(frozen=True)
class SessionInfo:
    """A session on the server, as it was when the server was asked."""

    id: str
    model: str
    version: str
    """Of the model, which the session runs on."""
    position: int
    """Time steps applied."""
    admitted: int
    """Time steps applied or queued."""
    create_time: datetime | None
    """When it began; in UTC, as the others. None where the server does not say."""
    use_time: datetime | None
    """When its last step was, or when it was last opened."""
    expire_time: datetime | None
    """When it expires if nothing comes; None: never, or not while it has queued steps."""

    @classmethod
    def from_proto(cls, message: sessions_pb2.SessionInfo) -> Self:
        """The server's description without protobuf."""
        return cls(
            id=message.session_id,
            model=message.model,
            version=message.version,
            position=message.position,
            admitted=message.admitted,
            create_time=_time(message.create_time) if message.HasField("create_time") else None,
            use_time=_time(message.use_time) if message.HasField("use_time") else None,
            expire_time=_time(message.expire_time) if message.HasField("expire_time") else None,
        )


def _time(stamp: timestamp_pb2.Timestamp) -> datetime:
    return stamp.ToDatetime(UTC)
