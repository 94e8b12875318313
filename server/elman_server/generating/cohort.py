"""Cohorts: generations that go on together, and what stays of them from step to step, as columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_models.generation.sampling import ManyRules
from elman_server.generating.generation import Generation
from elman_server.models.runtime import Runtime

Array = NDArray[Any]
Flags = NDArray[np.bool_]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]


class Cohort:
    """Generations whose steps are rows of one frame, as long as they are the same ones."""

    def __init__(self, generations: Sequence[Generation]) -> None:
        """`generations`: [K], of one kind of feedback; their prompts have run."""
        self.generations = generations
        self.spec = generations[0].spec
        """Whose feedback and outputs are those of all."""
        self.handles: U64 = np.array([one.handle for one in generations], np.uint64)
        """[K] under which they are taken in."""
        self.rules = ManyRules([one.spec.rules for one in generations])
        self.histories = [one.tokens for one in generations]
        """[K] lists that grow."""
        self._slots: I64 = np.array([one.slot for one in generations])
        self._turns: I64 = np.array([one.turns for one in generations])
        self._begins: I64 = np.array([one.position - one.count for one in generations])

    def counts(self) -> I64:
        """[K] steps that each has generated."""
        return np.array([one.count for one in self.generations])

    def positions(self, counts: I64) -> I64:
        """[K] of their sessions, after so many steps."""
        return self._begins + counts

    def outputs(self) -> Array:
        """[K, *features] what each gave last, the record of the outputs that they need."""
        return np.array([one.output for one in self.generations])

    def given(self, name: str, counts: I64) -> Array:
        """[K, *features] the next step of an input that is not fed back."""
        pairs = zip(self.generations, counts.tolist(), strict=True)
        return np.stack([one.spec.given[name][count] for one, count in pairs])

    def are_at_home(self, runtime: Runtime, positions: I64) -> Flags:
        """[K] whether each one's session is where it left it, at those positions."""
        sessions, slots = runtime.sessions, self._slots
        are_there = (sessions.slots(self.handles) == slots) & (sessions.admitted[slots] == positions)
        at_home: Flags = are_there & (runtime.turns[slots] == self._turns)
        return at_home
