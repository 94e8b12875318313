"""A model that fails when it is told to."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from elman_models import State
from elman_server.models.runtime import Runtime


class Failing:
    """Any model; while it `fails` it spoils what it was given, and raises."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.fails = False

    @classmethod
    def put_into(cls, runtime: Runtime) -> "Failing":
        """Has a runtime run its model through this."""
        failing = cls(runtime.model)
        runtime.model = cast(Any, failing)
        return failing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def step(self, inputs: Any, sizes: Any, state: State, **options: Any) -> Any:
        if self.fails:
            state.h.fill_(math.nan)
            raise RuntimeError("injected")
        return self._model.step(inputs, sizes, state, **options)

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Fails as long as it lasts, and logs none of it: a page for each failure."""
        self.fails = True
        logging.disable()
        yield
        logging.disable(logging.NOTSET)
        self.fails = False
