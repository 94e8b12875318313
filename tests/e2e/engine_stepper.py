"""Holds the engine of a running server: it stands still, does one thing at a time, or runs free again."""

import asyncio
import queue
from collections.abc import Callable
from typing import TypeVar

from elman_server.engine.engine import Engine
from elman_server.models.runtime import Runtime

T = TypeVar("T")


class EngineStepper:
    """Used on the loop's thread; what it has the engine do is done on the engine's own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._asked = asyncio.Event()
        self._turn = engine.turn
        for name in ("call", "submit_infer"):
            setattr(engine, name, self._noted(getattr(engine, name)))

    async def take(self) -> None:
        """Returns when the engine stands, and what it had to say is said."""
        stands = self._loop.create_future()
        self._engine.post(lambda: self._stand(stands))
        await stands
        await self.do(lambda: None)

    def let_go(self) -> None:
        """The engine runs free."""
        self._engine.turn = self._turn  # type: ignore[method-assign]
        self._engine._inbox.wake()

    async def empty(self, runtime: Runtime) -> None:
        """Returns when what was handed over before has been taken in, and nothing of it waits or runs; it runs free."""
        told = self._loop.create_future()
        self._engine.post(lambda: self._engine.periodic_jobs.on_drained(runtime, lambda: self._settle(told)))
        await told

    async def do(self, function: Callable[[], object]) -> None:
        """Has a standing engine do something; returns when what it said of it is said."""
        done = self._loop.create_future()
        self._orders.put(lambda: self._obey(function, done))
        self._engine._inbox.wake()
        await done

    async def take_in(self) -> None:
        """Has it take in what was handed over."""
        await self.do(self._engine._take_in)

    async def pump(self) -> None:
        """Has it do one turn of its loop, without its waits."""
        await self.do(self._turn)

    async def asked(self, call: "asyncio.Task[object]") -> None:
        """Returns when the server has asked the engine for what a call needs next, or has answered the call."""
        asked = asyncio.ensure_future(self._asked.wait())
        await asyncio.wait({asked, call}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        self._asked.clear()

    def forget_asked(self) -> None:
        """What was asked so far was for other calls."""
        self._asked.clear()

    def _noted(self, ask: Callable[..., T]) -> Callable[..., T]:
        def noted(*args: object) -> T:
            answer = ask(*args)
            self._loop.call_soon_threadsafe(self._asked.set)
            return answer

        return noted

    def _stand(self, stands: "asyncio.Future[None]") -> None:
        self._engine.turn = self._still  # type: ignore[method-assign]
        self._settle(stands)

    def _still(self) -> bool:
        # A turn of an engine that stands: streams are read all the same.
        self._engine._port.take()
        while not self._orders.empty():
            self._orders.get()()
        self._engine.loop_calls.flush()
        return False

    def _obey(self, function: Callable[[], object], done: "asyncio.Future[None]") -> None:
        error: Exception | None = None
        try:
            function()
        except Exception as raised:  # noqa: BLE001 - it is told to whoever awaits
            error = raised
        self._engine._answer()
        self._settle(done, error)

    def _settle(self, future: "asyncio.Future[None]", error: Exception | None = None) -> None:
        def settle() -> None:
            if not future.done():
                future.set_exception(error) if error else future.set_result(None)

        self._loop.call_soon_threadsafe(settle)
