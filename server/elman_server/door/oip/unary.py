"""Unary calls of this surface: how an error leaves, and that the call is counted; and those that are not there."""

import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from google.protobuf.message import Message

from elman_server.door.door import Door
from elman_server.door.oip.status import Unsupported, code_of, message_of
from elman_server.door.oip.stubs.grpc_service_pb2_grpc import GRPCInferenceServiceServicer
from elman_server.door.rpc.context import Context
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


def _refused(name: str, what: str) -> Any:
    async def refuse(self: "UnsupportedCalls", request: Message, context: Context) -> Message:
        raise Unsupported(f"{name}: {what} is not supported by this server")

    refuse.__name__ = name
    return unary(refuse)


class UnsupportedCalls(GRPCInferenceServiceServicer):
    """Answers UNIMPLEMENTED, with what is missing."""

    def __init__(self, door: Door) -> None:
        self._door = door

    SystemSharedMemoryStatus = _refused("SystemSharedMemoryStatus", "shared memory")
    SystemSharedMemoryRegister = _refused("SystemSharedMemoryRegister", "shared memory")
    SystemSharedMemoryUnregister = _refused("SystemSharedMemoryUnregister", "shared memory")
    CudaSharedMemoryStatus = _refused("CudaSharedMemoryStatus", "shared memory")
    CudaSharedMemoryRegister = _refused("CudaSharedMemoryRegister", "shared memory")
    CudaSharedMemoryUnregister = _refused("CudaSharedMemoryUnregister", "shared memory")
    TraceSetting = _refused("TraceSetting", "tracing")
    LogSettings = _refused("LogSettings", "changing log settings")
