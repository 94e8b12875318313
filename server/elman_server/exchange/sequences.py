"""Requests that may name a sequence, as the engine takes them: steps of its session, with its beginning and its end."""

from collections.abc import Sequence
from typing import Protocol

from elman_server.exchange.frames import Frame
from elman_server.exchange.initial import Initial
from elman_server.exchange.served import ModelVersion, ModelVersions, ServedModel
from elman_server.exchange.session_calls.calls import Owner


class SequenceParameters(Protocol):
    """Of one request."""

    @property
    def session_id(self) -> str:
        """Of the sequence's session; empty: none is named."""
        ...

    @property
    def sequence_id(self) -> str:
        """As its caller names it."""
        ...

    @property
    def start(self) -> bool:
        """Whether the sequence begins with it; one of that id that lives ends before."""
        ...

    @property
    def end(self) -> bool:
        """Whether the sequence ends with it."""
        ...


class SequenceTarget(Protocol):
    """What a request runs on."""

    @property
    def directory(self) -> ModelVersions:
        """The model."""
        ...

    @property
    def worker(self) -> ServedModel:
        """The version."""
        ...

    @property
    def runtime(self) -> ModelVersion:
        """The version."""
        ...


class SequenceStep(Protocol):
    """One request. It is answered through its frame's sink."""

    @property
    def target(self) -> SequenceTarget:
        """What it runs on."""
        ...

    @property
    def parameters(self) -> SequenceParameters:
        """What of a sequence it is."""
        ...

    @property
    def owner(self) -> Owner:
        """Of the sequence's session."""
        ...

    @property
    def frame(self) -> Frame:
        """Its steps; `handles` is filled in by the engine where it names a sequence."""
        ...

    @property
    def initial(self) -> Initial:
        """What it begins with."""
        ...

    @property
    def version(self) -> str:
        """As asked for; empty: any."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether its caller went away: if it waits still, it is not begun."""
        ...

    @property
    def form(self) -> object | None:
        """Steps of one form can be rows of one frame; None: it has a frame of its own."""
        ...

    def joined(self, steps: "Sequence[SequenceStep]", /) -> Frame:
        """One frame of steps of its form, itself among them; its `handles` are filled in by the engine."""
        ...

    def redirect(self, runtime: ModelVersion, /) -> None:
        """Has it run on another version of the model, whose tensors are the same."""
        ...


class SequencePort(Protocol):
    """Where such requests go. On the engine's thread."""

    def submit(self, step: SequenceStep, /) -> None:
        """Takes one; those of a turn are admitted together."""
        ...
