"""The catalogue: the models of a folder, loaded, found and unloaded."""

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from elman_models.errors import BundleError
from elman_models.fingerprint import check_distinct, fingerprint, may_be, readable_specs
from elman_models.graph.spec import GraphSpec
from elman_models.graph.stack import GraphStack
from elman_models.spec import ModelSpec
from elman_models.stack import Stack
from elman_server.config.server_config import Limits
from elman_server.engine.engine import Engine
from elman_server.engine.worker import Worker
from elman_server.errors import (
    BrokenBundle,
    LimitReached,
    ModelChanged,
    ServiceError,
    SessionExpired,
    StaleHandle,
    UnknownModel,
)
from elman_server.exchange.detached import detached
from elman_server.exchange.mailbox import LoopCalls
from elman_server.exchange.served import ModelVersion
from elman_server.exchange.sessions import Owner
from elman_server.exchange.slices import each_slice
from elman_server.exchange.versions import version_key
from elman_server.models.loading import Prepare
from elman_server.models.moving import check_same_states, move
from elman_server.models.remeasuring import Remeasuring
from elman_server.models.runtime import Runtime
from elman_server.sessions.directory import SessionDirectory, check_takes_sessions
from elman_server.sessions.handles import MAX_MODELS, HandleKey
from elman_server.telemetry.metrics import Metrics

log = logging.getLogger(__name__)


class Catalogue:
    """All families. Changed on the engine's thread; read from any, since its dicts are replaced whole."""

    def __init__(self, folder: Path, prepare: Prepare, limits: Limits, engine: Engine, metrics: Metrics) -> None:
        self.folder = folder
        self.limits = limits
        self.key = HandleKey()
        self.directories: dict[str, SessionDirectory] = {}
        self._prepare = prepare
        self._engine = engine
        self._metrics = metrics
        self._workers: dict[int, Worker] = {}
        self._next_number = 0
        self.failures: dict[Path, str] = {}
        """By bundle: why it could not be loaded, the last time that was tried."""
        self._leaving: dict[Runtime, asyncio.Future[None]] = {}  # being unloaded; on the loop's thread
        self.remeasuring: Remeasuring | None = None
        """Told of models whose plans were measured beside traffic."""
        engine.do_now_and_then(self._expire)

    def directory(self, name: str) -> SessionDirectory:
        """The family of that name.

        Raises:
            UnknownModel: no version of it is loaded.
        """
        directory = self.directories.get(name)
        if directory is None or not directory.versions:
            known = ", ".join(sorted(n for n, f in self.directories.items() if f.versions)) or "none"
            raise UnknownModel(f"unknown model {name!r}; loaded: {known}", metadata={"model": name})
        return directory

    def worker(self, number: int) -> Worker | None:
        """The worker of the model of that number, if it is loaded."""
        return self._workers.get(number)

    def worker_of(self, runtime: ModelVersion) -> Worker:
        """The worker of a loaded version.

        Raises:
            UnknownModel: it was unloaded meanwhile.
        """
        if not self._is_loaded(runtime):
            raise UnknownModel(f"model {runtime.spec.name!r} version {runtime.spec.version!r} was unloaded")
        return self._workers[runtime.number]

    def ended(self, handle: int) -> SessionExpired | StaleHandle | None:
        """What to tell the holder of a handle of a model that was unloaded, if it is remembered that its session ended
        or moved. From any thread."""
        found = (directory.tombstones.of_handle(handle) for directory in self.directories.values())
        return next((error for error in found if error), None)

    def has_others(self, runtime: ModelVersion) -> bool:
        """Whether other versions of the same model are loaded, and stay."""
        directory = self.directories.get(runtime.spec.name)
        versions = directory.versions.values() if directory else ()
        return any(r is not runtime and r not in self._leaving for r in versions)

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

    async def load(self, bundle: Path) -> Runtime:
        """Loads a bundle and serves it.

        Raises:
            BrokenBundle: it cannot be loaded; the message names the file and the field or tensor.
            ModelChanged: the version was loaded meanwhile, from other files.
        """
        began = time.monotonic()
        log.info("loading %s", bundle)
        try:
            stack = await detached(partial(self._prepare, bundle))
            runtime = await self._engine.call(lambda: self._add(stack))
        except (BundleError, ValueError, MemoryError, torch.OutOfMemoryError) as error:
            message = _in_words(bundle, error)
            self.failures[bundle] = message
            log.error("loading %s failed: %s", bundle, message)
            raise BrokenBundle(message) from error
        except ServiceError as error:
            log.error("loading %s failed: %s", bundle, error)
            raise
        self.failures.pop(bundle, None)
        seconds = time.monotonic() - began
        runtime.metrics.model_load_seconds.set(seconds)
        log.info("loaded model %s version %s from %s in %.1f s", stack.spec.name, stack.spec.version, bundle, seconds)
        if stack.plans.is_provisional and self.remeasuring and runtime.stack is stack:
            self.remeasuring.add(runtime, bundle)
        return runtime

    async def unload(self, version: ModelVersion) -> None:
        """Answers what is admitted, ends the model's sessions and stops serving it."""
        if not self._is_loaded(version):
            return  # another call has unloaded it
        runtime = self._workers[version.number].runtime
        left = self._leaving.get(runtime)
        if left is None:
            left = self._leaving[runtime] = asyncio.get_running_loop().create_future()
            left.add_done_callback(lambda _: self._leaving.pop(runtime))
            left.add_done_callback(partial(_log_unloaded, runtime.spec, time.monotonic()))
            log.info("unloading model %s version %s", runtime.spec.name, runtime.spec.version)
            await self._engine.call(partial(self._begin_unload, runtime, left))
        await asyncio.wait({left})

    async def gone(self, name: str, version: str) -> None:
        """Returns once those versions are gone that are being unloaded; all of that name if none is given."""
        leaving = [f for r, f in self._leaving.items() if r.spec.name == name and version in ("", r.spec.version)]
        if leaving:
            await asyncio.wait(leaving)

    def _is_loaded(self, runtime: ModelVersion) -> bool:
        worker = self._workers.get(runtime.number)
        return worker is not None and worker.runtime is runtime

    def _add(self, stack: Stack | GraphStack) -> Runtime:
        spec = stack.spec
        directory = self.directories.get(spec.name) or SessionDirectory(
            spec.name, self.limits.max_tombstones, self._engine.clock
        )
        if spec.version in directory.versions:
            _check_unchanged(spec, directory.versions[spec.version].stack.fingerprint, stack.fingerprint)
            return directory.versions[spec.version]
        if len(self._workers) == MAX_MODELS:
            raise LimitReached(f"{MAX_MODELS} models are loaded, which is the most", metadata={"limit": "max_models"})
        while self._next_number in self._workers:
            self._next_number = (self._next_number + 1) % MAX_MODELS
        metrics = self._metrics.of(spec.name, spec.version)
        runtime = Runtime(stack, self._next_number, self.key, self.limits, directory.tombstones, metrics)
        worker = Worker(runtime, self._engine.result_queue)
        self._next_number = (self._next_number + 1) % MAX_MODELS
        self._workers = {**self._workers, runtime.number: worker}
        directory.versions = {**directory.versions, spec.version: runtime}
        self.directories = {**self.directories, spec.name: directory}
        self._engine.add(worker)
        return runtime

    def _begin_unload(self, runtime: Runtime, left: "asyncio.Future[None]") -> None:
        runtime.unloading = True

        def finish() -> None:
            try:
                self._remove(runtime)
            finally:
                self._engine.loop_calls.settle(left)

        def end_all() -> None:
            drain = partial(self._end, runtime, "drained")
            each_slice(self._engine, runtime.sessions.everyone(), drain, finish)

        self._engine.periodic_jobs.on_drained(runtime, lambda: self._engine.post(end_all))

    async def adopt(self, version: ModelVersion) -> tuple[int, int]:
        """Moves the sessions of the model's other versions to this one; how many moved, and how many stayed.

        Raises:
            OtherState: the states of a version that has sessions disagree; none is moved.
            Draining, NoSessions: the version takes none.
            UnknownModel: it was unloaded meanwhile.
        """
        done: asyncio.Future[tuple[int, int]] = self._engine.expect()
        target = self.worker_of(version).runtime
        await self._engine.call(lambda: self._begin_adopting(target, done))
        return await done

    def _begin_adopting(self, target: Runtime, done: "asyncio.Future[tuple[int, int]]") -> None:
        directory = self.directories[target.spec.name]
        check_takes_sessions(target)
        sources = [one for one in directory.versions.values() if one is not target and one.sessions.num_open]
        for source in sources:
            check_same_states(source, target)
        tally = Tally(self._engine.loop_calls, done)

        def go_on() -> None:
            if not sources:
                tally.expect_no_more()
                return
            source = sources.pop()
            some = partial(self._adopt_some, directory, source, target, tally)
            each_slice(self._engine, source.sessions.everyone(), some, go_on)

        go_on()

    def _adopt_some(
        self, directory: SessionDirectory, source: Runtime, target: Runtime, tally: "Tally", slots: NDArray[np.int64]
    ) -> None:
        for slot in slots[source.sessions.are_attached(slots)].tolist():
            owner = source.sessions.owner(slot)
            if owner is not None:
                tally.expect()
                source.after_queued(slot, partial(self._adopt_one, directory, owner, target, tally))

    def _adopt_one(self, directory: SessionDirectory, owner: Owner, target: Runtime, tally: "Tally") -> None:
        try:
            drop_of = lambda runtime: self._workers[runtime.number].commit.drop  # noqa: E731
            moved = move(directory, owner, target, drop_of, self._engine.clock.now())
        except ServiceError:  # it ends, say
            tally.count(moved=False)
        else:
            tally.count(moved=not moved.errors)

    def end_driven(self, handles: NDArray[np.uint64]) -> None:
        """A stream has ended that has sent steps under these handles [n]: sessions that end with it end behind what has
        begun. On the engine's thread."""
        for handle, model in zip(handles, self.key.models(handles).tolist(), strict=True):
            worker = self._workers.get(model)
            if worker is None:
                continue
            runtime = worker.runtime
            for slot in runtime.sessions.ending(handle[np.newaxis]).tolist():
                runtime.sessions.closing[slot] = True
                runtime.after_queued(slot, partial(self._end, runtime, "disconnected", np.array([slot])))

    def _end(self, runtime: Runtime, cause: str, slots: NDArray[np.int64]) -> None:
        # Those that are there still; the others were closed meanwhile.
        there = slots[runtime.sessions.are_attached(slots)]
        self.directories[runtime.spec.name].end(runtime, there, cause, self._engine.clock.now())

    def _remove(self, runtime: Runtime) -> None:
        directory = self.directories[runtime.spec.name]
        directory.versions = {v: r for v, r in directory.versions.items() if r is not runtime}
        runtime.metrics.watch(float, float, float, float)  # zero from now on, and holding on to no model
        self._engine.remove(self._workers[runtime.number])
        self._workers = {n: w for n, w in self._workers.items() if n != runtime.number}

    def _expire(self, now: float) -> None:
        timeout = self.limits.idle_timeout_seconds
        if timeout is None:
            return
        for runtime in self.runtimes():
            if now >= runtime.next_expiry:
                runtime.next_expiry = math.inf  # until all that are idle have been ended
                idle = runtime.sessions.idle_since(now - timeout, runtime.busy())
                end, then = partial(self._end_idle, runtime, timeout), partial(_plan_expiry, runtime, now, timeout)
                each_slice(self._engine, idle, end, then)

    def _end_idle(self, runtime: Runtime, timeout: float, slots: NDArray[np.int64]) -> None:
        # Those that are idle still.
        are_idle = runtime.sessions.used[slots] <= self._engine.clock.now() - timeout
        self._end(runtime, "expired", slots[are_idle & ~runtime.busy(slots)])


class Tally:
    """Counts the sessions that move, whose turns come one by one; tells when all have had theirs."""

    def __init__(self, loop_calls: LoopCalls, done: "asyncio.Future[tuple[int, int]]") -> None:
        self._loop_calls = loop_calls
        self._done = done
        self._open = 1  # until all are known
        self._moved = self._stayed = 0

    def expect(self) -> None:
        """One more waits for its turn."""
        self._open += 1

    def expect_no_more(self) -> None:
        """All are known."""
        self._close()

    def count(self, *, moved: bool) -> None:
        """One has had its turn."""
        self._moved += moved
        self._stayed += not moved
        self._close()

    def _close(self) -> None:
        self._open -= 1
        if not self._open:
            self._loop_calls.settle(self._done, (self._moved, self._stayed))


def _plan_expiry(runtime: Runtime, now: float, timeout: float) -> None:
    runtime.next_expiry = runtime.sessions.earliest_use(now) + timeout


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


def _in_words(bundle: Path, error: Exception) -> str:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        said = " ".join(str(error).split())
        return f"{bundle}: takes more memory than there is{f' ({said})' if said else ''}"
    return str(error) if str(bundle) in str(error) else f"{bundle}: {error}"


def _check_unchanged(spec: ModelSpec | GraphSpec, loaded: str, found: str) -> None:
    if loaded != found:
        raise ModelChanged(
            f"model {spec.name!r} version {spec.version!r} is loaded, and its bundle was changed since: unload it "
            "first, which ends its sessions, or give what is new a version of its own",
            metadata={"model": spec.name, "version": spec.version},
        )


def _log_unloaded(spec: ModelSpec | GraphSpec, began: float, _: object) -> None:
    log.info("unloaded model %s version %s in %.1f s", spec.name, spec.version, time.monotonic() - began)
