"""Errors as they come over the wire: code, message, reason, metadata, and when to try again."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True)
class Refusal:
    """A rich status."""

    code: str
    message: str
    reason: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    retry_seconds: float | None = None

    @classmethod
    def of(cls, status: Any) -> "Refusal":
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        seconds = None
        for detail in status.details:
            detail.Unpack(info)
            if detail.Unpack(retry):
                seconds = retry.retry_delay.ToNanoseconds() / 1e9
        assert info.domain == "elman"
        return cls(_CODES[status.code].name, status.message, info.reason, tuple(sorted(info.metadata.items())), seconds)

    @property
    def says(self) -> dict[str, str]:
        return dict(self.metadata)


async def refusal_of(call: Awaitable[Any]) -> Refusal:
    """The error that a call ends with, its details the same as its bare status."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    trailers: dict[str, Any] = dict(error.trailing_metadata() or ())
    if "grpc-status-details-bin" not in trailers:
        return Refusal(error.code().name, error.details() or "")
    refusal = Refusal.of(status_pb2.Status.FromString(trailers["grpc-status-details-bin"]))
    assert (refusal.code, refusal.message) == (error.code().name, error.details())
    return refusal
