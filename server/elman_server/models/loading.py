"""Loading: from a bundle on disk to a stack that knows its fastest plans."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from elman_models.bundle import load_any
from elman_models.errors import BundleError
from elman_models.fingerprint import fingerprint
from elman_models.graph.stack import GraphStack
from elman_models.plans.apart import ApartError, Request, measure_apart
from elman_models.plans.cache import PlanCache
from elman_models.plans.prepare import Measuring
from elman_models.plans.table import Entry, PlanTable, PlanTables, Shape
from elman_models.plans.warm_up import Progress, WarmUp
from elman_models.stack import Stack
from elman_server.config.server_config import ServerConfig
from elman_server.models.measuring_progress import MeasuringProgress
from elman_server.models.traffic import Traffic

log = logging.getLogger(__name__)

AnyStack = Stack | GraphStack
Prepare = Callable[[Path], AnyStack]
"""Reads a bundle and warms it up; on whatever thread may take seconds."""


class StoppedError(BundleError):
    """The server stops, so nothing is measured any more."""


class Preparation:
    """Loads bundles onto one device, by a server's settings."""

    def __init__(
        self, config: ServerConfig, device: torch.device, traffic: Traffic | None = None, *, again: bool = False
    ) -> None:
        """`traffic`: of the server that it is for. `again`: plans are measured anew, whatever the cache has."""
        self._config = config
        self._device = device
        self._traffic = traffic
        self._cache = _plan_cache(config.cache, again=again)
        self._stopped = threading.Event()
        self._shown = MeasuringProgress(1)

    def __call__(self, bundle: Path) -> AnyStack:
        """The stack of a bundle, measured or looked up in the cache.

        Raises:
            BundleError: the bundle cannot be served.
            ValueError: a plan that was asked for is not there.
        """
        before = fingerprint(bundle)
        stack = load_any(bundle, self._device)
        if fingerprint(bundle) != before:
            raise BundleError(f"{bundle}: was changed while it was read; load it again")
        stack.fingerprint = before
        if self._config.warm_up_seconds or self._config.plans:
            stack.take(self.again(stack, bundle))  # type: ignore[arg-type]  # of the same kind
        self._shown.model_done()
        return stack

    def again(self, stack: AnyStack, bundle: Path) -> PlanTable | PlanTables:
        """A loaded stack's plans: what the cache has, or measured. What was measured beside traffic is provisional.

        Raises:
            StoppedError: the server stops.
            ValueError: a plan that was asked for is not there.
        """
        with self._shown.of(stack.spec.name) as show:
            how = Measuring(
                progress=self._until_stopped(show),
                cache=self._cache,
                measure=lambda warm_up: self._measure(warm_up, stack, bundle),
                is_quiet=self._traffic.since(time.monotonic) if self._traffic else lambda: True,
            )
            plans = stack.measured(how, budget_seconds=self._config.warm_up_seconds, overrides=self._config.plans)
        if plans.is_provisional:
            log.warning(
                "plans of model %s were measured beside traffic: not kept, and measured again once it is quiet",
                stack.spec.name,
            )
        return plans

    @contextmanager
    def over(self, num_models: int) -> Iterator[None]:
        """Shows one progress over so many models, one prepared after the other."""
        before, self._shown = self._shown, MeasuringProgress(num_models)
        try:
            yield
        finally:
            self._shown = before

    def stop(self) -> None:
        """Has measuring end at the next shape; from any thread."""
        self._stopped.set()

    def _measure(self, warm_up: WarmUp, stack: AnyStack, bundle: Path) -> Mapping[Shape, Entry]:
        nobody_is_disturbed = not (self._traffic and self._traffic.is_served)
        # Nor where the device's memory has no room for the model a second time.
        if nobody_is_disturbed or self._device.type == "cuda":
            return warm_up.measure()
        plans = self._config.plans
        request = Request(
            bundle=bundle.absolute(),
            fingerprint=stack.fingerprint,
            threads=torch.get_num_threads(),
            budget_seconds=warm_up.budget_seconds,
            node=warm_up.spec.name.removeprefix(f"{stack.spec.name}.") if isinstance(stack, GraphStack) else None,
            only=plans if isinstance(plans, str) else None,
        )
        try:
            return measure_apart(request, warm_up.progress)
        except ApartError as error:
            log.warning("plans of model %s are measured in the server's process: %s", stack.spec.name, error)
            return warm_up.measure()

    def _until_stopped(self, show: Progress) -> Progress:
        def told(done: int, of: int, shape: str) -> None:
            if self._stopped.is_set():
                raise StoppedError("the server is stopping")
            show(done, of, shape)

        return told


def _plan_cache(folder: Path | None, *, again: bool) -> PlanCache | None:
    if folder is None:
        return None
    try:
        return PlanCache(folder.expanduser() / "plans", again=again)
    except RuntimeError as error:  # `~`, and there is no home folder
        log.warning("plans are not kept, so each start measures them: cache %s: %s", folder, error)
        return None
