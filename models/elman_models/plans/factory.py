"""Plans as they are built: each candidate once, when first asked for."""

from collections.abc import Mapping, Sequence

from elman_models.graph.spec import GraphSpec
from elman_models.plans.candidates import Candidate
from elman_models.plans.plan import Plan
from elman_models.plans.segments import SegmentsPlan
from elman_models.plans.table import Entry, PlanTable, Shape
from elman_models.spec import ModelSpec

SEGMENTS = "segments"

Entries = Mapping[Shape, Entry]


class PlanFactory:
    """Builds one model's plans. Those that no table takes are freed with it."""

    def __init__(self, spec: ModelSpec | GraphSpec, candidates: Sequence[Candidate]) -> None:
        """`spec`: of a stack, or of a graph that runs whole. `candidates`: the default one first."""
        self.default = candidates[0].name
        self.candidates = {candidate.name: candidate for candidate in candidates}
        self.model = spec.name
        """Of a graph's recurrence MODEL.NODE."""
        # A bidirectional stack wants its rows whole, and of a graph's plans the program takes ragged ones.
        self._has_segments = isinstance(spec, ModelSpec) and spec.keeps_sessions
        self._built: dict[str, Plan] = {}

    def plan(self, name: str) -> Plan:
        """A candidate's plan."""
        if name not in self._built:
            self._built[name] = self.candidates[name].build()
        return self._built[name]

    def drop(self, name: str) -> None:
        """Takes a candidate out."""
        del self.candidates[name]
        self._built.pop(name, None)

    def names(self, *, is_ragged: bool) -> list[str]:
        """The plans that can run such batches."""
        names = [name for name, candidate in self.candidates.items() if candidate.takes_ragged or not is_ragged]
        return [*names, SEGMENTS] if is_ragged and self._has_segments else names

    def plans(self, names: Sequence[str], entries: Entries) -> dict[str, Plan]:
        """Plans by name; segments run by the plans of the uniform ones of `entries`."""
        return {name: self._segments(entries) if name == SEGMENTS else self.plan(name) for name in names}

    def table(self, entries: Entries, *, is_provisional: bool = False) -> PlanTable:
        """The table of `entries`, with the plans that they name."""
        plans = self.plans(sorted({entry.plan for entry in entries.values()}), entries)
        return PlanTable(plans, entries, is_provisional=is_provisional)

    def _segments(self, entries: Entries) -> Plan:
        uniform = {shape: entry for shape, entry in entries.items() if not shape.is_ragged}
        plans = {entry.plan: self.plan(entry.plan) for entry in uniform.values()}
        return SegmentsPlan(PlanTable(plans, uniform).choose)
