"""The gRPC server: methods, a port, and calls as they come."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import grpc

from elman_server.rpc.call import Call
from elman_server.rpc.completions import Completions
from elman_server.rpc.core import core
from elman_server.rpc.handling import handle


class RpcServer:
    """Serves coroutines, as grpc.aio.Server does. On the running event loop."""

    def __init__(self, options: Sequence[tuple[str, int]] = ()) -> None:
        """`options`: gRPC's channel arguments."""
        self._loop = asyncio.get_running_loop()
        self._completions = Completions(self._loop)
        self._server: Any = core.Server(tuple(options), False)
        self._server.register_completion_queue(self._completions.queue)
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
        port: int = self._server.add_http2_port(address.encode())
        if not port:
            raise OSError(f"cannot listen on {address}")
        return port

    def start(self) -> None:
        """Begins to serve."""
        self._server.start()
        self._completions.start()
        self._is_open = True
        self._request_call()

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
        if not self._is_open:
            self._server.destroy()
            return
        self._is_open = False
        stopped: asyncio.Future[None] = self._loop.create_future()
        self._server.shutdown(self._completions.queue, lambda _: stopped.set_result(None))
        await asyncio.wait({stopped}, timeout=grace_seconds)
        if not stopped.done():
            self._server.cancel_all_calls()
            await stopped
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        await self._completions.stop()
        self._server.destroy()

    def _request_call(self) -> None:
        self._server.request_call(self._completions.queue, self._completions.queue, self._requested)

    def _requested(self, event: Any) -> None:
        if not event.success:  # the server stops
            return
        if self._is_open:
            self._request_call()  # first: whatever is wrong with this one, others are to come
        call = Call(event, self._loop)
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
