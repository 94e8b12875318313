"""The models that are served, as far as the door may see them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from elman_models.graph.spec import GraphSpec
from elman_models.spec import ModelSpec
from elman_server.config.server_config import Limits
from elman_server.errors import SessionExpired, StaleHandle
from elman_server.exchange.frames import Frame
from elman_server.exchange.initial import Initial
from elman_server.exchange.model_view import ModelView
from elman_server.exchange.session_calls.keep import Keep, Keeping
from elman_server.telemetry.metrics import ModelMetrics

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]


class Device(Protocol):
    """Where weights and state live: a `torch.device`."""

    @property
    def type(self) -> str:
        """Of which kind."""
        ...

    @property
    def index(self) -> int | None:
        """Which of its kind."""
        ...


class SessionTable(Protocol):
    """The sessions of a model version."""

    @property
    def max_sessions(self) -> int:
        """As many as there may be."""
        ...

    @property
    def num_ending(self) -> int:
        """Of those that are open: how many end with the stream that drives them."""
        ...

    def driven(self, handles: U64) -> U64:
        """Of these handles [K], those of sessions that end with the stream that drives them. On the engine's thread."""
        ...


class ModelVersion(Protocol):
    """One loaded version. What is said here never changes but for `unloading`; from any thread."""

    @property
    def spec(self) -> ModelSpec | GraphSpec:
        """What it is, apart from its weights."""
        ...

    @property
    def view(self) -> ModelView:
        """Its tensors."""
        ...

    @property
    def number(self) -> int:
        """Among those that are loaded; a part of every handle."""
        ...

    @property
    def limits(self) -> Limits:
        """The server's."""
        ...

    @property
    def unloading(self) -> bool:
        """Whether it takes nothing new."""
        ...

    @property
    def device(self) -> Device:
        """Where weights and state live."""
        ...

    @property
    def weights_bytes(self) -> int:
        """Of its weights."""
        ...

    @property
    def slot_bytes(self) -> int:
        """Of one session's state."""
        ...

    @property
    def sessions(self) -> SessionTable:
        """Those that are open on it."""
        ...

    @property
    def metrics(self) -> ModelMetrics:
        """What is counted of it."""
        ...


class Admission(Protocol):
    """The way into a model version's queue. On the engine's thread."""

    def admit(self, frames: list[Frame], /) -> None:
        """Frames in the order in which they arrived."""
        ...

    def admit_infer(self, frame: Frame, initial: Initial, /) -> None:
        """Whole sequences whose rows borrow slots, and begin with what is given.

        Raises:
            Draining, InvalidInput, LimitReached: it was not admitted.
        """
        ...


class ServedModel(Protocol):
    """A loaded version with the way into its queue."""

    @property
    def runtime(self) -> ModelVersion:
        """The version."""
        ...

    @property
    def admission(self) -> Admission:
        """For the engine."""
        ...


class ModelVersions(Protocol):
    """The loaded versions of one model."""

    @property
    def name(self) -> str:
        """The model's."""
        ...

    @property
    def versions(self) -> Mapping[str, ModelVersion]:
        """By version; replaced whole when they change."""
        ...

    def version(self, version: str, /) -> ModelVersion:
        """That version; if it is empty the highest one, of those that stay if any does.

        Raises:
            UnknownModel: no such version is loaded.
        """
        ...


class HandleReader(Protocol):
    """Finds of which model a handle is."""

    def models(self, handles: U64, /) -> I64:
        """[K] their models' numbers."""
        ...


class ServedModels(Protocol):
    """The models of a folder, loaded or not. From any thread, if nothing else is said."""

    @property
    def folder(self) -> Path:
        """Where the bundles are."""
        ...

    @property
    def failures(self) -> Mapping[Path, str]:
        """By bundle: why it could not be loaded, the last time that was tried."""
        ...

    @property
    def limits(self) -> Limits:
        """The server's."""
        ...

    @property
    def key(self) -> HandleReader:
        """Of the handles."""
        ...

    def directory(self, name: str, /) -> ModelVersions:
        """The versions of the model of that name.

        Raises:
            UnknownModel: no version of it is loaded.
        """
        ...

    def runtimes(self) -> Sequence[ModelVersion]:
        """All loaded versions, by name and version."""
        ...

    def keeping(self, version: ModelVersion, keep: Keep, /) -> Keeping:
        """How final states of that version are kept as sessions.

        Raises:
            UnknownModel: it was unloaded meanwhile.
        """
        ...

    def ended(self, handle: int, /) -> SessionExpired | StaleHandle | None:
        """What to tell the holder of a handle of a model that was unloaded, if it is remembered that its session ended
        or moved."""
        ...

    def end_driven(self, handles: U64, /) -> None:
        """A stream has ended that has sent steps under these handles [n]: sessions that end with it end behind what has
        begun. On the engine's thread."""
        ...

    def missing(self, name: str, version: str, /) -> Sequence[Path]:
        """The bundles of that name, and version if any is given, that are not loaded.

        Raises:
            UnknownModel: the folder has none.
            BrokenBundle: one that may be meant cannot be read, or two folders bear the same name and version.
            ModelChanged: one that is loaded was loaded from other files.
        """
        ...


class ModelCalls(Protocol):
    """What is asked of whole models. On the loop's thread."""

    def has_others(self, runtime: ModelVersion, /) -> bool:
        """Whether other versions of the same model are loaded, and stay."""
        ...

    async def load(self, bundle: Path, /) -> object:
        """Loads a bundle and serves it.

        Raises:
            BrokenBundle, ModelChanged: it cannot be loaded, or the version was loaded meanwhile, from other files.
        """
        ...

    async def unload(self, runtime: ModelVersion, /) -> None:
        """Answers what is admitted, ends the model's sessions and stops serving it."""
        ...

    async def gone(self, name: str, version: str, /) -> None:
        """Returns once those versions are gone that are being unloaded; all of that name if none is given."""
        ...

    async def adopt(self, target: ModelVersion, /) -> tuple[int, int]:
        """Moves the sessions of the model's other versions to this one; how many moved, and how many stayed.

        Raises:
            OtherState, Draining, NoSessions: the version takes them not; none is moved.
        """
        ...
