"""The seam: what the engine knows of a door."""

from typing import Protocol


class Port(Protocol):
    """Where frames come from. On the engine's thread, which no call of this holds up."""

    def filenos(self) -> tuple[int, ...]:
        """Files of which one is readable while there is something to take."""
        ...

    def take(self) -> None:
        """Takes in all that has come: frames are submitted to the engine. It raises nothing that a caller has sent."""
        ...
