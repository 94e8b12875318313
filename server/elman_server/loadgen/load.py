"""A load: what is sent to a server, and for how long."""

from dataclasses import dataclass

from elman_server.loadgen.lengths import Lengths

ONE_STEP = Lengths("fixed", 1, 1)


@dataclass(frozen=True)
class Load:
    """Sessions, how they are spread over streams and frames, and how frames arrive."""

    address: str
    """HOST:PORT of the server."""
    model: str
    version: str = ""
    sessions: int = 1
    streams: int = 1
    """Step streams; the sessions are spread over them evenly."""
    connections: int = 1
    """gRPC channels, over which the streams are spread; the server counts callers by them."""
    rows: int | None = None
    """Sessions of one frame; None: all of its stream's."""
    in_flight: int = 1
    """Closed loop: frames of one stream under way."""
    lengths: Lengths = ONE_STEP
    """Steps of each chunk."""
    rate: float | None = None
    """Open loop: session-steps offered a second, in frames that arrive as a Poisson process; None: closed loop."""
    patience_seconds: float = 0.05
    """Open loop: a frame that the connection does not take within that time is dropped here, unsent."""
    warm_up_seconds: float = 0.5
    seconds: float = 2.0
    """What is measured, after the warm-up."""
    seed: int = 0
    handles: tuple[int, ...] | None = None
    """Sessions that are open already; None: opens `sessions`, and closes them in the end."""

    def __post_init__(self) -> None:
        """Checks that the numbers fit.

        Raises:
            ValueError: they do not.
        """
        if min(self.sessions, self.streams, self.connections, self.in_flight, self.rows or 1) < 1:
            raise ValueError("sessions, streams, connections, rows and in_flight: expected at least 1 of each")
        if self.sessions % self.streams:
            raise ValueError(f"sessions: expected a multiple of the streams, {self.streams}, got {self.sessions}")
        if self.rows and self.sessions // self.streams % self.rows:
            raise ValueError(f"rows: expected a divisor of a stream's {self.sessions // self.streams} sessions")

    @property
    def rows_per_frame(self) -> int:
        """Sessions of one frame."""
        return self.rows or self.sessions // self.streams

    @property
    def frames_per_second(self) -> float:
        """Open loop: frames of one stream a second."""
        return (self.rate or 0.0) / (self.rows_per_frame * self.lengths.mean * self.streams)
