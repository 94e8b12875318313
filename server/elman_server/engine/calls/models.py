"""Calls on models: loaded, unloaded, and sessions moved to another version; on the loop's thread, at the engine's."""

import asyncio
import logging
import time
from functools import partial
from pathlib import Path

import torch

from elman_models.errors import BundleError
from elman_models.graph.spec import GraphSpec
from elman_models.graph.stack import GraphStack
from elman_models.spec import ModelSpec
from elman_models.stack import Stack
from elman_server.engine.calls.adoption import Adoption
from elman_server.engine.engine import Engine
from elman_server.errors import BrokenBundle, ServiceError, UnknownModel
from elman_server.exchange.served import ModelVersion
from elman_server.exchange.slices import each_slice
from elman_server.models.catalogue import Catalogue
from elman_server.models.loading import Prepare
from elman_server.models.remeasuring import Remeasuring
from elman_server.models.runtime import Runtime
from elman_server.threads.detached import detached

log = logging.getLogger(__name__)


class ModelCalls:
    """What is asked of whole models."""

    def __init__(self, engine: Engine, catalogue: Catalogue, prepare: Prepare) -> None:
        """`prepare`: makes a stack of a bundle; on a thread of its own."""
        self._engine = engine
        self._catalogue = catalogue
        self._prepare = prepare
        self._leaving: dict[Runtime, asyncio.Future[None]] = {}  # being unloaded
        self.remeasuring: Remeasuring | None = None
        """Told of models whose plans were measured beside traffic."""

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
            self._catalogue.failures[bundle] = message
            log.error("loading %s failed: %s", bundle, message)
            raise BrokenBundle(message) from error
        except ServiceError as error:
            log.error("loading %s failed: %s", bundle, error)
            raise
        self._catalogue.failures.pop(bundle, None)
        seconds = time.monotonic() - began
        runtime.metrics.model_load_seconds.set(seconds)
        log.info("loaded model %s version %s from %s in %.1f s", stack.spec.name, stack.spec.version, bundle, seconds)
        if stack.plans.is_provisional and self.remeasuring and runtime.stack is stack:
            self.remeasuring.add(runtime, bundle)
        return runtime

    async def unload(self, version: ModelVersion) -> None:
        """Answers what is admitted, ends the model's sessions and stops serving it."""
        try:
            runtime = self._engine.worker_of(version).runtime
        except UnknownModel:
            return  # another call has unloaded it
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

    def has_others(self, runtime: ModelVersion) -> bool:
        """Whether other versions of the same model are loaded, and stay."""
        directory = self._catalogue.directories.get(runtime.spec.name)
        versions = directory.versions.values() if directory else ()
        return any(r is not runtime and r not in self._leaving for r in versions)

    def _add(self, stack: Stack | GraphStack) -> Runtime:
        return self._catalogue.add(stack, self._engine.add)

    def _begin_unload(self, runtime: Runtime, left: "asyncio.Future[None]") -> None:
        runtime.unloading = True

        def finish() -> None:
            try:
                self._remove(runtime)
            finally:
                self._engine.loop_calls.settle(left)

        def end_all() -> None:
            drain = partial(self._catalogue.end, runtime, "drained")
            each_slice(self._engine, runtime.sessions.everyone(), drain, finish)

        self._engine.periodic_jobs.on_drained(runtime, lambda: self._engine.post(end_all))

    def _remove(self, runtime: Runtime) -> None:
        self._catalogue.remove(runtime)
        self._engine.remove(runtime)

    async def adopt(self, version: ModelVersion) -> tuple[int, int]:
        """Moves the sessions of the model's other versions to this one; how many moved, and how many stayed.

        Raises:
            OtherState: the states of a version that has sessions disagree; none is moved.
            Draining, NoSessions: the version takes none.
            UnknownModel: it was unloaded meanwhile.
        """
        target, told = self._engine.worker_of(version).runtime, self._engine.expect()
        directory = self._catalogue.directory(version.spec.name)
        await self._engine.call(Adoption(self._engine, directory, target, told).begin)
        moved, stayed = await told
        return moved, stayed


def _in_words(bundle: Path, error: Exception) -> str:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        said = " ".join(str(error).split())
        return f"{bundle}: takes more memory than there is{f' ({said})' if said else ''}"
    return str(error) if str(bundle) in str(error) else f"{bundle}: {error}"


def _log_unloaded(spec: ModelSpec | GraphSpec, began: float, _: object) -> None:
    log.info("unloaded model %s version %s in %.1f s", spec.name, spec.version, time.monotonic() - began)
