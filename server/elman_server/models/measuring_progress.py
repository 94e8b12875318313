"""How measuring plans is shown: one line on a terminal, which changes and goes away; else lines of the log."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from elman_models.plans.warm_up import Progress

log = logging.getLogger(__name__)


class MeasuringProgress:
    """One progress over several models, prepared one after the other."""

    def __init__(self, num_models: int) -> None:
        self._num_models = num_models
        self._num_done = 0

    def model_done(self) -> None:
        """Counts a model that is prepared, measured or not."""
        self._num_done = min(self._num_done + 1, self._num_models - 1)

    @contextmanager
    def of(self, model: str) -> Iterator[Progress]:
        """Shows one model's part; nothing where nothing is measured."""
        with (_on_terminal if sys.stderr.isatty() else _in_log)(model, self._where()) as told:

            def show(done: int, of: int, shape: str) -> None:
                told(self._num_done * of + done, self._num_models * of, shape)

            yield show

    def _where(self) -> str:
        return f" ({self._num_done + 1} of {self._num_models})" if self._num_models > 1 else ""


@contextmanager
def _on_terminal(model: str, where: str) -> Iterator[Progress]:
    def show(done: int, of: int, shape: str) -> None:
        line = f"\r\x1b[Kmeasuring plans of {model}{where}: {done}/{of} {shape}"
        print(line, end="", file=sys.stderr, flush=True)  # noqa: T201

    try:
        yield show
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def _in_log(model: str, where: str) -> Iterator[Progress]:
    began: list[float] = []

    def show(_done: int, _of: int, _shape: str) -> None:
        if not began:
            began.append(time.monotonic())
            log.info("measuring plans of model %s%s", model, where)

    yield show
    if began:
        log.info("measured plans of model %s%s in %.1f s", model, where, time.monotonic() - began[0])
