"""The catalogue: the models of a folder, which of them are loaded, and the sessions on them."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elman_models.errors import BundleError
from elman_models.fingerprint import check_distinct, fingerprint, may_be, readable_specs
from elman_models.graph.spec import GraphSpec
from elman_models.graph.stack import GraphStack
from elman_models.spec import ModelSpec
from elman_models.stack import Stack
from elman_server.config.server_config import Limits
from elman_server.errors import (
    BrokenBundle,
    LimitReached,
    ModelChanged,
    SessionExpired,
    StaleHandle,
    UnknownModel,
)
from elman_server.exchange.served import ModelVersion
from elman_server.exchange.session_calls.keep import Keep, Keeping
from elman_server.exchange.versions import version_key
from elman_server.models.directory import SessionDirectory
from elman_server.models.keeping import StateKeeping
from elman_server.models.runtime import Runtime
from elman_server.sessions.handles import MAX_MODELS, HandleKey
from elman_server.telemetry.metrics import Metrics
from elman_server.threads.clock import Clock

log = logging.getLogger(__name__)


class Catalogue:
    """Changed on the engine's thread; read from any, since its dicts are replaced whole."""

    def __init__(self, folder: Path, limits: Limits, clock: Clock, metrics: Metrics) -> None:
        self.folder = folder
        self.limits = limits
        self.key = HandleKey()
        self.directories: dict[str, SessionDirectory] = {}
        self.failures: dict[Path, str] = {}
        """By bundle: why it could not be loaded, the last time that was tried."""
        self._clock = clock
        self._metrics = metrics
        self._runtimes: dict[int, Runtime] = {}  # by number
        self._next_number = 0

    def directory(self, name: str) -> SessionDirectory:
        """The sessions and versions of the model of that name.

        Raises:
            UnknownModel: no version of it is loaded.
        """
        directory = self.directories.get(name)
        if directory is None or not directory.versions:
            known = ", ".join(sorted(n for n, f in self.directories.items() if f.versions)) or "none"
            raise UnknownModel(f"unknown model {name!r}; loaded: {known}", metadata={"model": name})
        return directory

    def ended(self, handle: int) -> SessionExpired | StaleHandle | None:
        """What to tell the holder of a handle of a model that was unloaded, if it is remembered that its session ended
        or moved. From any thread."""
        found = (directory.tombstones.of_handle(handle) for directory in self.directories.values())
        return next((error for error in found if error), None)

    def runtimes(self) -> list[Runtime]:
        """All loaded versions, by name and version."""
        directories = sorted(self.directories.values(), key=lambda f: f.name)
        return [f.versions[v] for f in directories for v in sorted(f.versions, key=version_key)]

    def missing(self, name: str, version: str) -> list[Path]:
        """The bundles of that name, and version if any is given, that are not loaded.

        Raises:
            UnknownModel: the folder has none.
            BrokenBundle: one that may be meant cannot be read, or two folders bear the same name and version.
            ModelChanged: one that is loaded was loaded from other files.
        """
        try:
            specs, broken = readable_specs(self.folder)
            meant = {p: s for p, s in specs.items() if s.name == name and version in ("", s.version)}
            check_distinct(meant)
            _pass_over(broken, name, is_found=bool(meant))
        except BundleError as error:
            raise BrokenBundle(str(error)) from error
        if not meant:
            known = ", ".join(sorted({s.name for s in specs.values()})) or "none"
            raise UnknownModel(
                f"no bundle of model {name!r}{f' version {version!r}' * bool(version)} in the model folder; "
                f"there are: {known}",
                metadata={"model": name, "version": version},
            )
        loaded = self.directories[name].versions if name in self.directories else {}
        for path, spec in meant.items():
            if spec.version in loaded:
                _check_unchanged(spec, loaded[spec.version].stack.fingerprint, _fingerprint(path))
        return [p for p, s in meant.items() if s.version not in loaded]

    def add(self, stack: Stack | GraphStack, serve: Callable[[Runtime], None]) -> Runtime:
        """The version that a stack is, which is loaded from now on; `serve` is called with a new one before it is seen.

        Raises:
            ModelChanged: it is served already, from other files.
            LimitReached: as many are loaded as there may be.
            BundleError: there is no memory for its sessions' states.
        """
        spec = stack.spec
        directory = self.directories.get(spec.name) or SessionDirectory(
            spec.name, self.limits.max_tombstones, self._clock
        )
        if spec.version in directory.versions:
            _check_unchanged(spec, directory.versions[spec.version].stack.fingerprint, stack.fingerprint)
            return directory.versions[spec.version]
        if len(self._runtimes) == MAX_MODELS:
            raise LimitReached(f"{MAX_MODELS} models are loaded, which is the most", metadata={"limit": "max_models"})
        while self._next_number in self._runtimes:
            self._next_number = (self._next_number + 1) % MAX_MODELS
        metrics = self._metrics.of(spec.name, spec.version)
        runtime = Runtime(stack, self._next_number, self.key, self.limits, directory.tombstones, metrics)
        self._next_number = (self._next_number + 1) % MAX_MODELS
        serve(runtime)
        self._runtimes = {**self._runtimes, runtime.number: runtime}
        directory.versions = {**directory.versions, spec.version: runtime}
        self.directories = {**self.directories, spec.name: directory}
        return runtime

    def remove(self, runtime: Runtime) -> None:
        """Has a version be served no longer that has no sessions any more."""
        directory = self.directories[runtime.spec.name]
        directory.versions = {v: r for v, r in directory.versions.items() if r is not runtime}
        runtime.metrics.watch(float, float, float, float)  # zero from now on, and holding on to no model
        self._runtimes = {n: r for n, r in self._runtimes.items() if r is not runtime}

    def end(self, runtime: Runtime, cause: str, slots: NDArray[np.int64]) -> None:
        """Ends those idle sessions that are there still, as `SessionDirectory.end`; others were closed meanwhile. On
        the engine's thread."""
        there = slots[runtime.sessions.are_attached(slots)]
        self.directories[runtime.spec.name].end(runtime, there, cause, self._clock.now())

    def keeping(self, version: ModelVersion, keep: Keep) -> Keeping:
        """How final states of a version's are kept.

        Raises:
            UnknownModel: it was unloaded meanwhile.
        """
        directory = self.directory(version.spec.name)
        return StateKeeping(directory, directory.version(version.spec.version), self._clock, keep)

    def end_driven(self, handles: NDArray[np.uint64]) -> None:
        """A stream has ended that has sent steps under these handles [n]: sessions that end with it end behind what has
        begun. On the engine's thread."""
        for handle, model in zip(handles, self.key.models(handles).tolist(), strict=True):
            runtime = self._runtimes.get(model)
            if runtime is None:
                continue
            for slot in runtime.sessions.ending(handle[np.newaxis]).tolist():
                runtime.sessions.closing[slot] = True
                runtime.after_queued(slot, partial(self.end, runtime, "disconnected", np.array([slot])))


def _pass_over(broken: Mapping[Path, BundleError], name: str, *, is_found: bool) -> None:
    """What cannot be read is refused where it may be the model meant, and holds up no other."""
    for path, error in broken.items():
        if not is_found or may_be(path, name):
            raise error
        log.warning("loading model %s passes over what cannot be read: %s", name, error)


def _fingerprint(bundle: Path) -> str:
    try:
        return fingerprint(bundle)
    except BundleError as error:
        raise BrokenBundle(str(error)) from error


def _check_unchanged(spec: ModelSpec | GraphSpec, loaded: str, found: str) -> None:
    if loaded != found:
        raise ModelChanged(
            f"model {spec.name!r} version {spec.version!r} is loaded, and its bundle was changed since: unload it "
            "first, which ends its sessions, or give what is new a version of its own",
            metadata={"model": spec.name, "version": spec.version},
        )
