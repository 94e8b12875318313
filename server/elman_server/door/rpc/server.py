"""The gRPC server: methods, a port, and calls as they come."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import grpc

from elman_server.door.rpc.call import Call, Transport
from elman_server.door.rpc.certificates import CertificateFiles
from elman_server.door.rpc.handling import handle


class RpcServer:
    """Serves coroutines, as grpc.aio.Server does. On the running event loop."""

    def __init__(self, transport: Transport) -> None:
        """`transport`: how calls come."""
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._handlers: dict[str, Any] = {}  # by "/package.Service/Method"
        self._tasks: dict[asyncio.Task[None], str] = {}  # by method
        self._is_open = False
        self._stopping: asyncio.Task[None] | None = None

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Takes a service's handlers; generated code calls it."""
        self._handlers |= {f"/{service}/{name}": handler for name, handler in handlers.items()}

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Does nothing: generated code gives the same handlers twice."""

    def add_insecure_port(self, address: str) -> int:
        """Listens at HOST:PORT; the port.

        Raises:
            OSError: it cannot.
        """
        return self._transport.add_insecure_port(address)

    def add_secure_port(self, address: str, files: CertificateFiles) -> int:
        """The same by TLS.

        Raises:
            OSError: it cannot.
            CertificateError: the files are not good.
        """
        return self._transport.add_secure_port(address, files)

    async def start(self) -> None:
        """Begins to serve."""
        self._is_open = True
        await self._transport.start(self._requested)

    def cancel(self, methods: Collection[str]) -> None:
        """Ends the calls of "/package.Service/Method" that there are: those that would never end by themselves."""
        for task, method in self._tasks.items():
            if method in methods:
                task.cancel()

    async def stop(self, grace_seconds: float) -> None:
        """Takes no more calls, and ends those that there are after that time at the latest; asked again, waits for the
        same end. gRPC itself ends a call as CANCELLED that comes before its connection knows."""
        if self._stopping is None:
            self._stopping = self._loop.create_task(self._stop(grace_seconds))
        await asyncio.shield(self._stopping)

    async def _stop(self, grace_seconds: float) -> None:
        self._is_open = False
        await self._transport.stop(grace_seconds)
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    def _requested(self, call: Call) -> None:
        if not self._is_open:
            call.finish(grpc.StatusCode.UNAVAILABLE, "the server is stopping; reconnect")
            return
        handler = self._handlers.get(call.method)
        if handler is None:
            call.finish(grpc.StatusCode.UNIMPLEMENTED, f"no method {call.method} is served here")
            return
        task = self._loop.create_task(handle(handler, call))
        call.on_cancel = task.cancel
        self._tasks[task] = call.method
        task.add_done_callback(self._tasks.pop)
