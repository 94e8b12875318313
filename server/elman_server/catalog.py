"""The catalog: the models of a folder, loaded, found and unloaded."""

import asyncio
import time
from functools import partial
from pathlib import Path

from elman_models.bundle import find_bundles, read_spec
from elman_models.errors import BundleError
from elman_models.stack import Stack
from elman_server.config import Limits
from elman_server.engine import Engine
from elman_server.errors import BrokenBundle, LimitReached, UnknownModel
from elman_server.families import Family
from elman_server.handles import MAX_MODELS, HandleKey
from elman_server.metrics import Metrics
from elman_server.preparation import Prepare
from elman_server.runtime import Runtime
from elman_server.versions import version_key
from elman_server.worker import Worker


class Catalog:
    """All families. Changed on the engine's thread; read from any, since its dicts are replaced whole."""

    def __init__(self, folder: Path, prepare: Prepare, limits: Limits, engine: Engine, metrics: Metrics) -> None:
        self.folder = folder
        self.limits = limits
        self.key = HandleKey()
        self.families: dict[str, Family] = {}
        self._prepare = prepare
        self._engine = engine
        self._metrics = metrics
        self._workers: dict[int, Worker] = {}
        self._next_number = 0
        self.failures: dict[Path, str] = {}
        """By bundle: why it could not be loaded, the last time that was tried."""
        self._leaving: dict[Runtime, asyncio.Future[None]] = {}  # being unloaded; on the loop's thread
        engine.chores.jobs.append(self._expire)

    def family(self, name: str) -> Family:
        """The family of that name.

        Raises:
            UnknownModel: no version of it is loaded.
        """
        family = self.families.get(name)
        if family is None or not family.versions:
            known = ", ".join(sorted(n for n, f in self.families.items() if f.versions)) or "none"
            raise UnknownModel(f"unknown model {name!r}; loaded: {known}", metadata={"model": name})
        return family

    def worker(self, number: int) -> Worker | None:
        """The worker of the model of that number, if it is loaded."""
        return self._workers.get(number)

    def worker_of(self, runtime: Runtime) -> Worker:
        """The worker of a loaded version.

        Raises:
            UnknownModel: it was unloaded meanwhile.
        """
        if not self._is_loaded(runtime):
            raise UnknownModel(f"model {runtime.spec.name!r} version {runtime.spec.version!r} was unloaded")
        return self._workers[runtime.number]

    def has_others(self, runtime: Runtime) -> bool:
        """Whether other versions of the same model are loaded, and stay."""
        family = self.families.get(runtime.spec.name)
        versions = family.versions.values() if family else ()
        return any(r is not runtime and r not in self._leaving for r in versions)

    def runtimes(self) -> list[Runtime]:
        """All loaded versions, by name and version."""
        families = sorted(self.families.values(), key=lambda f: f.name)
        return [f.versions[v] for f in families for v in sorted(f.versions, key=version_key)]

    def missing(self, name: str, version: str) -> list[Path]:
        """The bundles of that name, and version if any is given, that are not loaded.

        Raises:
            UnknownModel: the folder has none.
            BrokenBundle: one that may be meant cannot be read.
        """
        try:
            specs = {path: read_spec(path) for path in find_bundles(self.folder)}
        except BundleError as error:
            raise BrokenBundle(str(error)) from error
        meant = {p: s for p, s in specs.items() if s.name == name and version in ("", s.version)}
        if not meant:
            known = ", ".join(sorted({s.name for s in specs.values()})) or "none"
            raise UnknownModel(
                f"no bundle of model {name!r}{f' version {version!r}' * bool(version)} in the model folder; "
                f"there are: {known}",
                metadata={"model": name, "version": version},
            )
        loaded = self.families[name].versions if name in self.families else {}
        return [p for p, s in meant.items() if s.version not in loaded]

    async def load(self, bundle: Path) -> Runtime:
        """Loads a bundle and serves it.

        Raises:
            BrokenBundle: it cannot be loaded; the message names the file and the field or tensor.
        """
        began = time.monotonic()
        try:
            stack = await asyncio.to_thread(self._prepare, bundle)
        except (BundleError, ValueError) as error:
            self.failures[bundle] = str(error)
            raise BrokenBundle(str(error)) from error
        self.failures.pop(bundle, None)
        runtime = await self._engine.call(lambda: self._add(stack))
        runtime.metrics.model_load_seconds.set(time.monotonic() - began)
        return runtime

    async def unload(self, runtime: Runtime) -> None:
        """Answers what is admitted, ends the model's sessions and stops serving it."""
        left = self._leaving.get(runtime)
        if left is None:
            if not self._is_loaded(runtime):
                return  # another call has unloaded it
            left = self._leaving[runtime] = asyncio.get_running_loop().create_future()
            left.add_done_callback(lambda _: self._leaving.pop(runtime))
            await self._engine.call(partial(self._begin_unload, runtime, left))
        await asyncio.wait({left})

    async def gone(self, name: str, version: str) -> None:
        """Returns once those versions are gone that are being unloaded; all of that name if none is given."""
        leaving = [f for r, f in self._leaving.items() if r.spec.name == name and version in ("", r.spec.version)]
        if leaving:
            await asyncio.wait(leaving)

    def _is_loaded(self, runtime: Runtime) -> bool:
        worker = self._workers.get(runtime.number)
        return worker is not None and worker.runtime is runtime

    def _add(self, stack: Stack) -> Runtime:
        spec = stack.spec
        family = self.families.get(spec.name) or Family(spec.name, self.limits.max_tombstones, self._engine.clock)
        if spec.version in family.versions:
            return family.versions[spec.version]
        if len(self._workers) == MAX_MODELS:
            raise LimitReached(f"{MAX_MODELS} models are loaded, which is the most", metadata={"limit": "max_models"})
        while self._next_number in self._workers:
            self._next_number = (self._next_number + 1) % MAX_MODELS
        metrics = self._metrics.of(spec.name, spec.version)
        runtime = Runtime(stack, self._next_number, self.key, self.limits, family.tombstones, metrics)
        worker = Worker(runtime, self._engine.delivery)
        self._next_number = (self._next_number + 1) % MAX_MODELS
        self._workers = {**self._workers, runtime.number: worker}
        family.versions = {**family.versions, spec.version: runtime}
        self.families = {**self.families, spec.name: family}
        self._engine.add(worker)
        return runtime

    def _begin_unload(self, runtime: Runtime, left: "asyncio.Future[None]") -> None:
        runtime.unloading = True

        def finish() -> None:
            try:
                self._remove(runtime)
            finally:
                self._engine.delivery.settle(left)

        self._engine.chores.when_empty(runtime, finish)

    def _remove(self, runtime: Runtime) -> None:
        family = self.families[runtime.spec.name]
        everyone = runtime.sessions.everyone()
        family.end(runtime, everyone, "drained", self._engine.clock.now())
        family.versions = {v: r for v, r in family.versions.items() if r is not runtime}
        runtime.metrics.watch(float, float, float, float)  # zero from now on, and holding on to no model
        self._engine.remove(self._workers[runtime.number])
        self._workers = {n: w for n, w in self._workers.items() if n != runtime.number}

    def _expire(self, now: float) -> None:
        timeout = self.limits.idle_timeout_seconds
        if timeout is None:
            return
        for runtime in self.runtimes():
            if now >= runtime.next_expiry:
                idle = runtime.sessions.idle_since(now - timeout, runtime.busy())
                if idle.size:
                    self.families[runtime.spec.name].end(runtime, idle, "expired", now)
                runtime.next_expiry = runtime.sessions.earliest_use(now) + timeout
