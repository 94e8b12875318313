"""A stack that fails when it is told to."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch

from elman_models import Packed, State
from elman_server.models.runtime import Runtime


class Failing:
    """Any stack; while it `fails` it spoils what it was given, and raises."""

    def __init__(self, stack: Any) -> None:
        self._stack = stack
        self.fails = False

    @classmethod
    def put_into(cls, runtime: Runtime) -> "Failing":
        """Has a runtime run its stack through this."""
        failing = cls(runtime.stack)
        runtime.stack = cast(Any, failing)
        return failing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stack, name)

    def step(self, packed: Packed, state: State, **options: bool) -> tuple[torch.Tensor, State]:
        if self.fails:
            state.h.fill_(math.nan)
            raise RuntimeError("injected")
        stepped: tuple[torch.Tensor, State] = self._stack.step(packed, state, **options)
        return stepped

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Fails as long as it lasts, and logs none of it: a page for each failure."""
        self.fails = True
        logging.disable()
        yield
        logging.disable(logging.NOTSET)
        self.fails = False
