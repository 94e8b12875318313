"""What all models, sessions and pools of one client share."""

from __future__ import annotations

from elman._driver import Driver
from elman._errors import InvalidInputError
from elman._opener import Opener
from elman._step import StepOptions
from elman._transport import Transport

_COLUMNS_SHARE = 16


class Context:
    """The channel, the stream and the table of sessions."""

    def __init__(self, transport: Transport, max_frame_bytes: int) -> None:
        self.max_data_bytes = max_frame_bytes - max_frame_bytes // _COLUMNS_SHARE  # the rest is for handles and such
        self.transport = transport
        self.driver = Driver(transport, self.max_data_bytes)
        self.opener = Opener(transport, self.driver)

    def options(self, returning: str, state: bool, timeout: float | None) -> StepOptions:
        """A step's options with the client's defaults."""
        seconds = self.transport.timeout_seconds if timeout is None else timeout
        if seconds is not None and seconds <= 0:
            raise InvalidInputError(f"timeout: expected more than 0 seconds, got {seconds}")
        return StepOptions(returning, state, seconds)

    async def close(self) -> None:
        """Ends the stream and closes the channel."""
        await self.driver.close()
        await self.transport.close()
