"""An event loop on a thread of its own, on which the synchronous client runs the asynchronous one."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from elman._shared.errors import ClosedError, ElmanError
from elman._shared.loop_affinity import LoopAffinity

ResultT = TypeVar("ResultT")


class LoopThread:
    """Started by the first call, a daemon, and stopped by `stop`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        self._affinity = LoopAffinity()
        self._left: set[asyncio.Task[None]] = set()

    def run(self, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Runs a coroutine to its end; blocks the calling thread."""
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        except BaseException:
            coroutine.close()
            raise
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ClosedError("the client was closed") from None
        except ElmanError as error:
            raise error.with_traceback(None)  # noqa: B904 - of frames that hold calls of gRPC's, which a fork waits for
        except BaseException:
            future.cancel()  # KeyboardInterrupt, say: don't leave it running behind the caller's back
            raise

    def run_or_leave(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """As `run`; on the loop's own thread, where the garbage collector may call, it is left to run by itself."""
        if threading.current_thread() is self._thread:
            self._left.add(task := self.loop.create_task(coroutine))
            task.add_done_callback(self._left.discard)
        else:
            self.run(coroutine)

    def post(self, callback: Callable[..., object], *arguments: object) -> None:
        """Has the loop call something; does not wait."""
        loop = self.loop
        try:
            loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop was closed by another thread meanwhile
            raise ClosedError("the client is closed") from None

    def run_if_started(self, coroutine: Coroutine[Any, Any, None], timeout_seconds: float) -> None:
        """Runs a coroutine, but not for longer than that, and not where the loop does not run."""
        with self._lock:
            loop = None if self._is_stopped else self._loop
        if loop is None:
            coroutine.close()
            return
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            future.result(timeout_seconds)
        except (TimeoutError, concurrent.futures.CancelledError):
            future.cancel()

    def post_if_started(self, callback: Callable[[], object]) -> None:
        """Has the loop call something, where it runs."""
        with self._lock:
            if self._loop is not None and not self._is_stopped:
                self._loop.call_soon_threadsafe(callback)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop. Raises ClosedError, ForkError."""
        self._affinity.check_process()
        loop = self._loop
        if loop is None or self._is_stopped:
            with self._lock:
                loop = self._started()
        return loop

    def stop(self, last: Coroutine[Any, Any, None]) -> None:
        """Runs `last`, cancels what is left and ends the thread; a second call, or one in a fork, does nothing."""
        if self._affinity.is_inherited:
            last.close()
            return
        with self._lock:
            if self._is_stopped or self._loop is None or self._thread is None:
                self._is_stopped = True
                last.close()
                return
            self._is_stopped = True
            loop, thread = self._loop, self._thread
        asyncio.run_coroutine_threadsafe(_finish(last), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._is_stopped:
            raise ClosedError("the client is closed")
        if self._loop is None:
            loop = asyncio.new_event_loop()
            loop.set_exception_handler(_handle_exception)
            self._thread = threading.Thread(target=loop.run_forever, name="elman-client", daemon=True)
            self._thread.start()
            self._loop = loop
        return self._loop


async def _finish(last: Coroutine[Any, Any, None]) -> None:
    await last
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


def _handle_exception(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """grpc.aio wakes all loops of a process for one event: those that come late, or find it to be of a loop that was
    closed, tell of it needlessly (grpc #25364).
    """
    if "PollerCompletionQueue" not in str(context.get("message")):
        loop.default_exception_handler(context)
