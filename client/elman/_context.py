"""What all models, sessions and pools of one client share."""

from __future__ import annotations

from elman._opener import Opener
from elman._shared.checks import check_integer, check_switch, check_timeout
from elman._shared.errors import InvalidInputError
from elman._shared.fork_guard import FORK_GUARD
from elman._shared.loop_thread import LoopThread
from elman._shared.transport import MAX_MESSAGE_BYTES, Transport
from elman._stepping.driver import Driver
from elman._stepping.options import StepOptions, return_code

MIN_FRAME_BYTES = 256
_COLUMNS_SHARE = 16
_SUSPEND_SECONDS = 5.0


class Context:
    """The channel, the stream and the table of sessions."""

    def __init__(self, transport: Transport, max_frame_bytes: int, thread: LoopThread | None = None) -> None:
        """`thread` is whose loop it belongs to, where that is one of its own. Raises TypeError, InvalidInputError."""
        check_integer("max_frame_bytes", max_frame_bytes, MIN_FRAME_BYTES, MAX_MESSAGE_BYTES)
        self.max_data_bytes = max_frame_bytes - max_frame_bytes // _COLUMNS_SHARE  # the rest is for handles and such
        self.transport = transport
        self.driver = Driver(transport, self.max_data_bytes)
        self.opener = Opener(transport, self.driver)
        self._thread = thread
        if thread is not None:
            FORK_GUARD.watch(self)

    def options(self, returning: str, state: bool, timeout: float | None, progress: bool = False) -> StepOptions:
        """A step's options with the client's defaults. Raises TypeError, InvalidInputError."""
        check_timeout("timeout", timeout)
        check_switch("state", state)
        check_switch("progress", progress)
        return_code(returning)
        seconds = self.transport.timeout_seconds if timeout is None else timeout
        return StepOptions(returning, bool(state), seconds, progress)

    def stream_options(self, returning: str, timeout: float | None) -> StepOptions:
        """Those of a stream's chunks, whose outputs are its items. Raises TypeError, InvalidInputError."""
        options = self.options(returning, False, timeout)
        if returning == "none":
            raise InvalidInputError("returning: expected all or last of a stream, got 'none'")
        return options

    def suspend(self) -> None:
        """Lets go of the connection for a fork, from another thread than the loop's, and waits until that is done."""
        if self._thread is not None:
            self._thread.run_if_started(self._suspend(), _SUSPEND_SECONDS)

    def resume(self) -> None:
        """Connects again when there is something to send."""
        if self._thread is not None:
            self._thread.post_if_started(self._resume)

    async def close(self) -> None:
        """Ends the stream and closes the channel."""
        await self.driver.close()
        await self.transport.close()

    async def _suspend(self) -> None:
        await self.driver.suspend()
        await self.transport.suspend()

    def _resume(self) -> None:
        self.transport.resume()
        self.driver.resume()
