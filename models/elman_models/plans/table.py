"""The plan table: which plan runs a batch, by rows, steps and whether rows differ in length."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import log2
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman_models.layout import batch_sizes
from elman_models.plans.plan import Plan


class Shape(NamedTuple):
    """What a batch looks like to a plan."""

    rows: int
    steps: int
    """Of the longest row."""
    is_ragged: bool = False

    def __str__(self) -> str:
        return f"{self.rows}x{self.steps}{' ragged' if self.is_ragged else ''}"

    @property
    def row_steps(self) -> int:
        """Session-steps of a batch, if its lengths fall evenly from `steps` to 1 where ragged."""
        return sum(self.lengths)

    @property
    def lengths(self) -> list[int]:
        """[rows], non-increasing: those of a batch of this shape, as it is measured."""
        if not self.is_ragged:
            return [self.steps] * self.rows
        return [-(-self.steps * (self.rows - row) // self.rows) for row in range(self.rows)]

    @property
    def batch_sizes(self) -> NDArray[np.int64]:
        """[steps] the same batch in the packed layout: how many rows have step t."""
        return batch_sizes(np.array(self.lengths))

    def distance(self, other: "Shape") -> float:
        """How far apart two shapes are, in factors of two."""
        return abs(log2(self.rows / other.rows)) + abs(log2(self.steps / other.steps))


@dataclass(frozen=True)
class Entry:
    """One point of the table."""

    plan: str
    """The name of the plan that runs it."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Time of a launch by plan; empty where nothing was measured, shorter where a plan lost early."""


class PlanTable:
    """The plans of one model, chosen once; a shape that is not in it is run as the nearest that is."""

    def __init__(
        self, plans: Mapping[str, Plan], entries: Mapping[Shape, Entry], *, is_provisional: bool = False
    ) -> None:
        """Fixes the choice.

        Args:
            plans: by name; every plan that an entry names.
            entries: by shape, equally long and ragged ones.
            is_provisional: measured beside other work: better measured again.
        """
        self.is_provisional = is_provisional
        self.plans = dict(plans)
        self.entries = dict(sorted(entries.items(), key=lambda item: (item[0].is_ragged, *item[0])))
        self._chosen: dict[tuple[int, int, bool], Plan] = {}  # what was looked up before

    @classmethod
    def of_one(cls, plan: Plan) -> "PlanTable":
        """A table of one plan, which runs everything."""
        entry = Entry(plan.name)
        return cls({plan.name: plan}, {Shape(1, 1): entry, Shape(1, 1, True): entry})

    def choose(self, batch_sizes: NDArray[np.int64]) -> Plan:
        """The plan for a batch in the packed layout, [seq_len] of whose rows have step t."""
        rows, steps, is_ragged = int(batch_sizes[0]), len(batch_sizes), bool(batch_sizes[-1] != batch_sizes[0])
        # Bit lengths of 4/3 x: powers of two and what is nearest to them, so that few keys stand for all sizes.
        key = ((4 * rows // 3).bit_length(), (4 * steps // 3).bit_length(), is_ragged)
        plan = self._chosen.get(key)
        if plan is None:
            shape = Shape(1 << (key[0] - 1), 1 << (key[1] - 1), is_ragged)
            plan = self._chosen[key] = self.plans[self._nearest(shape).plan]
        return plan

    @property
    def names(self) -> list[str]:
        """The plans that some entry names, in order: labels of metrics."""
        return sorted({entry.plan for entry in self.entries.values()})

    def describe(self) -> str:
        """A line per shape: the plan, its time, session-steps per second, and what the others took."""
        lines = [f"{'rows x steps':<16}{'plan':<22}{'microseconds':>13}{'steps/s':>12}  others"]
        lines += [_line(shape, entry) for shape, entry in self.entries.items()]
        return "\n".join(lines)

    def _nearest(self, shape: Shape) -> Entry:
        return self.entries[_closest(shape, (known for known in self.entries if known.is_ragged == shape.is_ragged))]


def _closest(shape: Shape, known: Iterable[Shape]) -> Shape:
    # Of two that are equally far the larger: what is not in the table is mostly too large to have been measured.
    return min(known, key=lambda one: (shape.distance(one), -one.row_steps))


def _line(shape: Shape, entry: Entry) -> str:
    seconds = entry.seconds.get(entry.plan)
    time, rate = (f"{1e6 * seconds:.0f}", f"{shape.row_steps / seconds:,.0f}") if seconds else ("not measured", "")
    others = ", ".join(
        f"{name} {1e6 * other:.0f}"
        for name, other in sorted(entry.seconds.items(), key=lambda item: item[1])
        if name != entry.plan
    )
    return f"{shape!s:<16}{entry.plan:<22}{time:>13}{rate:>12}  {others}".rstrip()


NO_PLAN = "graph"
"""What a graph without a recurrence runs by."""
SEVERAL_PLANS = "mixed"
"""What a graph runs by whose recurrences run by several."""
WHOLE_GRAPH = "(whole graph)"
"""In a graph's tables the one that says how all of it runs; no node can be called so."""
PROGRAM = "program"
"""Of that table: node after node, the recurrences by their own tables."""
ORT_GRAPH = "ort-graph"
"""Of that table: all nodes together, by onnxruntime."""


class PlanTables(dict[str, PlanTable]):
    """The tables of a graph, by the recurrence's node; and, where there is a choice, that of WHOLE_GRAPH."""

    @property
    def is_provisional(self) -> bool:
        """Whether one was measured beside other work."""
        return any(table.is_provisional for table in self.values())

    @property
    def names(self) -> list[str]:
        """The plans that a step may be said to have run by, in order; see `GraphStack.plan_name`."""
        of_nodes = [table.names for node, table in self.items() if node != WHOLE_GRAPH]
        names = {name for own in of_nodes for name in own} or {NO_PLAN}
        if len(of_nodes) > 1:
            names.add(SEVERAL_PLANS)
        if WHOLE_GRAPH in self:
            names |= set(self[WHOLE_GRAPH].names) - {PROGRAM}
        return sorted(names)

    def describe(self) -> str:
        """Each table, under its node's name."""
        return "\n".join(f"{node}:\n{table.describe()}" for node, table in self.items()) or "no recurrence, so no plans"
