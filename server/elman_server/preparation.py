"""Preparation: from a bundle on disk to a stack that knows its fastest plans."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from elman_models.bundle import load
from elman_models.errors import BundleError
from elman_models.fingerprint import fingerprint
from elman_models.plans.cache import PlanCache
from elman_models.plans.warm_up import Progress
from elman_models.stack import Stack
from elman_server.config import ServerConfig

log = logging.getLogger(__name__)

Prepare = Callable[[Path], Stack]
"""Reads a bundle and warms it up; on whatever thread may take seconds."""


class Preparation:
    """Loads bundles onto one device, by a server's settings."""

    def __init__(self, config: ServerConfig, device: torch.device, *, again: bool = False) -> None:
        """`again`: plans are measured anew, whatever the cache has."""
        self._config = config
        self._device = device
        self._cache = None if config.cache is None else PlanCache(config.cache.expanduser() / "plans", again=again)

    def __call__(self, bundle: Path) -> Stack:
        """The stack of a bundle, measured or looked up in the cache.

        Raises:
            BundleError: the bundle cannot be served.
            ValueError: a plan that was asked for is not there.
        """
        before = fingerprint(bundle)
        stack = load(bundle, self._device)
        if fingerprint(bundle) != before:
            raise BundleError(f"{bundle}: was changed while it was read; load it again")
        stack.fingerprint = before
        if self._config.warm_up_seconds or self._config.plans:
            tell = _on_terminal if sys.stderr.isatty() else _in_log
            with tell(stack.spec.name) as progress:
                stack.warm_up(
                    progress,
                    cache=self._cache,
                    budget_seconds=self._config.warm_up_seconds,
                    overrides=self._config.plans,
                )
        return stack


@contextmanager
def _on_terminal(model: str) -> Iterator[Progress]:
    """One line, which changes and goes away."""

    def show(done: int, of: int, shape: str) -> None:
        print(f"\r\x1b[Kmeasuring plans of {model}: {done}/{of} {shape}", end="", file=sys.stderr, flush=True)  # noqa: T201

    try:
        yield show
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def _in_log(model: str) -> Iterator[Progress]:
    """Two lines, as it begins and as it is done; none where nothing is measured."""
    began: list[float] = []

    def show(_done: int, _of: int, _shape: str) -> None:
        if not began:
            began.append(time.monotonic())
            log.info("measuring plans of model %s", model)

    yield show
    if began:
        log.info("measured plans of model %s in %.1f s", model, time.monotonic() - began[0])
