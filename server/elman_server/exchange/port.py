"""The seam: what the engine knows of a door, and a door of the engine."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from elman_server.errors import EngineFailed
from elman_server.exchange.frames import Frame, FramePart
from elman_server.exchange.initial import Initial
from elman_server.exchange.served import ModelVersion, ServedModel
from elman_server.threads.clock import Clock
from elman_server.threads.mailbox import LoopCalls

T = TypeVar("T")

SECONDS_BETWEEN_JOBS = 0.5
"""How often the engine does what is to be done now and then."""


class Port(Protocol):
    """Where frames come from. On the engine's thread, which no call of this holds up."""

    def filenos(self) -> tuple[int, ...]:
        """Files of which one is readable while there is something to take."""
        ...

    def take(self) -> None:
        """Takes in all that has come: frames are submitted to the engine. It raises nothing that a caller has sent."""
        ...


class NoPort:
    """Where none come: an engine that is stepped by its own calls."""

    def filenos(self) -> tuple[int, ...]:
        """See `Port`."""
        return ()

    def take(self) -> None:
        """See `Port`."""


class EnginePort(Protocol):
    """Where frames and calls go. From any thread, if nothing else is said."""

    @property
    def clock(self) -> Clock:
        """The engine's."""
        ...

    @property
    def loop_calls(self) -> LoopCalls:
        """The engine's way to the loop."""
        ...

    @property
    def failure(self) -> EngineFailed | None:
        """Why it serves no more, once a bug in its own steps has ended it."""
        ...

    def check(self) -> None:
        """Raises EngineFailed once the engine serves no more."""
        ...

    def worker(self, number: int, /) -> ServedModel | None:
        """The model version of that number, if it is served."""
        ...

    def worker_of(self, version: ModelVersion, /) -> ServedModel:
        """That of a loaded version.

        Raises:
            UnknownModel: it was unloaded meanwhile.
        """
        ...

    def submit(self, model: ServedModel, frame: Frame, /) -> None:
        """Hands a frame over. It is answered through its sink."""
        ...

    def submit_infer(self, model: ServedModel, frame: Frame, initial: Initial, /) -> None:
        """Hands over a frame of `Infer`, whose rows begin with what is given. It is answered, or refused, through its
        sink."""
        ...

    def cancel(self, parts: Sequence[FramePart], /) -> None:
        """Drops the chunks of what a caller has asked that went away, as far as they have not begun."""
        ...

    def post(self, function: Callable[[], None], /) -> None:
        """Runs `function` on the engine's thread, between two batches, after what was handed over before."""
        ...

    def call(self, function: Callable[[], T], /) -> "asyncio.Future[T]":
        """As `post`, from the loop's thread; the future has the result or the exception.

        Raises:
            EngineFailed: the engine serves no more.
        """
        ...

    def expect(self) -> "asyncio.Future[Any]":
        """A future that is settled later, or told should the engine fail before. On the loop's thread."""
        ...

    def do_now_and_then(self, job: Callable[[float], None], /) -> None:
        """Has the engine call `job` with its clock's time every half second, about. Before it starts."""
        ...
