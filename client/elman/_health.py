"""The standard gRPC health check, by hand: its two messages are not worth a dependency."""

from __future__ import annotations

from typing import Final

from elman._shared.checks import check_text
from elman._shared.errors import ClosedError, ElmanError, ForkError, LoopError
from elman._shared.retry import NO_RETRY
from elman._shared.transport import Transport

_METHOD: Final = "/grpc.health.v1.Health/Check"
_SERVING: Final = b"\x08\x01"  # HealthCheckResponse{status: SERVING}
_TIMEOUT_SECONDS: Final = 5.0


async def is_ready(transport: Transport, service: str) -> bool:
    """Whether `service` (empty: the server) says SERVING. Raises TypeError, InvalidInputError."""
    check_text("model", service)
    method = transport.channel.unary_unary(_METHOD, request_serializer=_request, response_deserializer=bytes)
    try:
        answer = await transport.call(method, service, timeout_seconds=_timeout_seconds(transport), retry=NO_RETRY)
    except (ClosedError, ForkError, LoopError):
        raise
    except ElmanError:
        return False
    return answer == _SERVING


def _timeout_seconds(transport: Transport) -> float:
    limit = transport.timeout_seconds
    return _TIMEOUT_SECONDS if limit is None else min(limit, _TIMEOUT_SECONDS)


def _request(service: str) -> bytes:
    """HealthCheckRequest{service}: field 1, length-delimited."""
    name = service.encode()
    if not name:
        return b""
    length, prefix = len(name), b"\x0a"
    while length > 0x7F:
        prefix += bytes((length & 0x7F | 0x80,))
        length >>= 7
    return prefix + bytes((length,)) + name
