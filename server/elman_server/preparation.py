"""Preparation: from a bundle on disk to a stack that knows its fastest plans."""

import sys
from collections.abc import Callable
from pathlib import Path

import torch

from elman_models.bundle import load
from elman_models.plans.cache import PlanCache
from elman_models.stack import Stack
from elman_server.config import ServerConfig

Prepare = Callable[[Path], Stack]
"""Reads a bundle and warms it up; on whatever thread may take seconds."""


class Preparation:
    """Loads bundles onto one device, by a server's settings."""

    def __init__(self, config: ServerConfig, device: torch.device) -> None:
        self._config = config
        self._device = device
        self._cache = None if config.cache is None else PlanCache(config.cache.expanduser() / "plans")

    def __call__(self, bundle: Path) -> Stack:
        """The stack of a bundle, measured or looked up in the cache.

        Raises:
            BundleError: the bundle cannot be served.
            ValueError: a plan that was asked for is not there.
        """
        stack = load(bundle, self._device)
        if self._config.warm_up_seconds or self._config.plans:
            progress = _Progress(stack.spec.name)
            stack.warm_up(
                progress.show,
                cache=self._cache,
                budget_seconds=self._config.warm_up_seconds,
                overrides=self._config.plans,
            )
            progress.clear()
        return stack


class _Progress:
    """One line on a terminal; nothing elsewhere."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._live = sys.stderr.isatty()

    def show(self, done: int, of: int, shape: str) -> None:
        if self._live:
            print(f"\r\x1b[Kmeasuring plans of {self._model}: {done}/{of} {shape}", end="", file=sys.stderr, flush=True)  # noqa: T201

    def clear(self) -> None:
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # noqa: T201
