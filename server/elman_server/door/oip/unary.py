"""Unary calls of this surface: how an error leaves, and that the call is counted."""

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from google.protobuf.message import Message

from elman_server.door.context import Context
from elman_server.door.door import Door
from elman_server.door.oip.status import code_of, message_of
from elman_server.errors import EngineFailed, ServiceError

log = logging.getLogger(__name__)
Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Service = TypeVar("Service")


ALWAYS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata")
"""Calls that are answered while the server loads its first models."""


def unary(
    method: Callable[[Service, Request, Context], Awaitable[Response]],
) -> Callable[[Service, Request, Any], Awaitable[Response]]:
    """Turns a method's domain errors into this surface's statuses, and counts the call. The service has a `_door`."""
    name = method.__name__

    @functools.wraps(method)
    async def served(self: Service, request: Request, context: Context) -> Response:
        door: Door = self._door  # type: ignore[attr-defined]
        began, code = door.engine.clock.now(), "CANCELLED"
        try:
            if name not in ALWAYS:
                door.check_loaded()
            with door.call():
                response = await method(self, request, context)
            code = "OK"
            return response
        except Exception as error:  # noqa: BLE001 - abort raises
            refused = error if isinstance(error, ServiceError) else _unexpected(name, error)
            code = code_of(refused).name
            await context.abort(code_of(refused), message_of(refused))
        finally:
            door.metrics.requests.labels(name, code).inc()
            door.metrics.request_seconds.labels(name).observe(door.engine.clock.now() - began)

    return served


def _unexpected(name: str, error: Exception) -> EngineFailed:
    log.error("%s failed", name, exc_info=error)
    return EngineFailed(f"{name} failed inside the server: {type(error).__name__}")
