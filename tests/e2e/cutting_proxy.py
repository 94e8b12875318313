"""A TCP proxy that cuts its connections at random moments."""

import asyncio
import random
from collections.abc import Coroutine
from types import TracebackType
from typing import Self


class CuttingProxy:
    """Between a client and a server on loopback; each connection lives for a random number of bytes."""

    def __init__(self, target: str, mean_bytes: int, seed: int) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._mean_bytes = mean_bytes
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.num_cuts = 0
        self.is_cutting = True

    @property
    def address(self) -> str:
        """Where clients connect."""
        assert self._server is not None
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection(*self._target)
            left = [int(self._random.expovariate(1 / self._mean_bytes)) + 200]
            await self._either_ends(self._pump(reader, upstream, left), self._pump(answers, writer, left))
            self.num_cuts += left[0] <= 0
        except (ConnectionError, asyncio.CancelledError):  # cancelled at the proxy's end: asyncio would log it
            pass
        finally:
            for one in (writer, upstream):
                if one is not None:
                    one.transport.abort()
            self._connections.discard(task)

    async def _either_ends(self, *pumps: Coroutine[None, None, None]) -> None:
        tasks = [asyncio.create_task(pump) for pump in pumps]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: list[int]) -> None:
        while data := await reader.read(4096):
            if self.is_cutting:
                left[0] -= len(data)
                if left[0] <= 0:  # what came last may be lost half-way
                    writer.write(data[: self._random.randrange(len(data))])
                    return
            writer.write(data)
            await writer.drain()
