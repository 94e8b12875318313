"""gRPC's C++ server inside the Python process."""

from collections.abc import Sequence

Event = tuple[int, int, object]
"""A call's number, the kind of event (event.h), and what comes with it."""

class Door:
    """The listening port, and every call that comes to it. A call is known by its number; one that is over takes
    nothing and harms nobody."""

    def __init__(self, options: dict[str, int]) -> None:
        """`options`: gRPC's channel arguments."""

    def add_port(self, address: str) -> None:
        """Listens at HOST:PORT or unix:PATH once started."""

    def start(self) -> list[int]:
        """Begins to serve; the port of each address, 0 for a path.

        Raises:
            RuntimeError: it cannot listen.
        """

    def stop(self, grace_seconds: float) -> None:
        """Takes no more calls, cancels those that have not ended by then, and returns when all are over. Blocks,
        without the interpreter's lock."""

    def fileno(self) -> int:
        """Readable while there are events to take."""

    def take_all(self) -> list[Event]:
        """The events since it was last asked, in order."""

    def receive(self, call: int) -> None:
        """Reads one message."""

    def send(self, call: int, message: bytes) -> None:
        """Writes a message."""

    def finish(
        self,
        call: int,
        code: int,
        details: str,
        trailing: Sequence[tuple[str, str | bytes]],
        message: bytes | None,
    ) -> None:
        """Ends a call with a status of that gRPC code, after what is being written and a last message, if any."""

    def cancel(self, call: int) -> None:
        """Ends a call as gRPC cancels one."""
