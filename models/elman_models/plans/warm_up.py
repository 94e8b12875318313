"""Warm-up: measures the candidates on this machine with this model's weights, shape by shape, within a budget."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf
from time import perf_counter

import torch

from elman_models.packed import Packed
from elman_models.plans.cache import cache_key
from elman_models.plans.factory import PlanFactory
from elman_models.plans.measure import Effort, Run, interleaved, stopwatch
from elman_models.plans.plan import Plan
from elman_models.plans.table import Entry, Shape
from elman_models.spec import ModelSpec, Precision
from elman_models.state import State

log = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called before each shape with the number of shapes done, the number of all, and the shape's name."""

UNIFORM = tuple(Shape(1 << power, steps) for power in range(9) for steps in (1, 4, 16))
RAGGED = tuple(Shape(1 << power, steps, True) for power in range(1, 9) for steps in (4, 16))
UNIFORM_SHARE = 0.7
"""Of the budget."""
CLOSE_FACTOR = 1.6
"""Plans that take up to this many times the fastest one's time are measured again, at other moments."""
MORE_LOOKS = 6
NEAR_FACTOR = 1.03
"""Plans that take up to this many times the fastest one's time are as good: the first candidate of them is taken."""
HOPELESS_FACTOR = 1.8
"""A plan that takes this many times the fastest one's time is not measured at still more rows."""
FEW_ROWS = 32
"""Below, a plan may lose by what it takes to call it, and still win later."""
TOLERANCES = {Precision.FLOAT32: 1e-4, Precision.FLOAT16: 0.05, Precision.BFLOAT16: 0.2, Precision.INT8: 0.3}
"""x max(1, |y|): a plan further than this from the default one is broken on this machine, not rounded.

In float32 all cells, with hidden sizes of 16 to 1,024, 1 to 8 layers and weights as torch draws them, were 3e-6 off at
most, with 4,096 inputs 1.6e-5, with weights three times as large 6e-5 (8 layers of ReLU 5e-4, where 1e-5 is nobody's
to promise). Weights and inputs rounded to bfloat16 were 3e-4 off at least.
"""


@dataclass(frozen=True)
class WarmUp:
    """Measures one model's plans, on the thread that calls; another one may serve other models meanwhile."""

    spec: ModelSpec
    device: torch.device
    factory: PlanFactory
    budget_seconds: float
    progress: Progress | None = None
    only: Mapping[bool, str] | None = None
    """By whether rows differ in length the plan that is to run them whatever it takes, and is measured alone."""
    effort: Effort = field(default_factory=Effort)

    def measure(self) -> dict[Shape, Entry]:
        """The fastest plan of each shape. Shapes come by size; the budget ends before those that it does not reach.
        What it leaves is for more looks at those where plans are close.

        Raises:
            ValueError: a plan of `only` is broken.
        """
        began = perf_counter()
        self._drop_broken()
        plans = self.factory.plans(self._names(is_ragged=False), {})
        entries = self._fastest(plans, UNIFORM, 0, began + UNIFORM_SHARE * self.budget_seconds)
        ragged_plans = self.factory.plans(self._names(is_ragged=True), entries)
        ragged = self._fastest(ragged_plans, RAGGED, len(UNIFORM), began + self.budget_seconds)
        for _ in range(MORE_LOOKS):
            entries = self._looked_again(plans, entries, began + self.budget_seconds)
            ragged = self._looked_again(ragged_plans, ragged, began + self.budget_seconds)
        return entries | ragged

    def key(self) -> dict[str, str]:
        """What the times depend on, for the cache."""
        return cache_key(self.spec, self.device)

    def _sample(self, shape: Shape) -> tuple[Packed, State]:
        return sample(self.spec, shape, self.device)

    def _error(self, got: tuple[torch.Tensor, State], want: tuple[torch.Tensor, State]) -> float:
        pairs = [(got[0], want[0]), (got[1].h, want[1].h), (got[1].c, want[1].c)]
        return largest_error([(g, w) for g, w in pairs if g is not None and w is not None])

    def _names(self, *, is_ragged: bool) -> list[str]:
        return [self.only[is_ragged]] if self.only else self.factory.names(is_ragged=is_ragged)

    def _fastest(
        self, plans: Mapping[str, Plan], shapes: Sequence[Shape], num_done: int, deadline: float
    ) -> dict[Shape, Entry]:
        entries: dict[Shape, Entry] = {}
        seconds_per_step = 0.0  # that measuring the latest shape took
        for done, shape in enumerate(sorted(shapes, key=lambda shape: shape.row_steps), num_done):
            began = perf_counter()
            if entries and began + seconds_per_step * shape.row_steps > deadline:
                break
            if self.progress:
                self.progress(done, len(UNIFORM) + len(RAGGED), str(shape))
            seconds = self._time(_hopeful(plans, shape, entries), shape)
            entries[shape] = Entry(_best(seconds), seconds)
            seconds_per_step = (perf_counter() - began) / shape.row_steps
        return entries

    def _looked_again(
        self, plans: Mapping[str, Plan], entries: Mapping[Shape, Entry], deadline: float
    ) -> dict[Shape, Entry]:
        # A moment may be a bad one for a plan: its memory comes by and by, and other programs take the caches. Of two
        # the better is believed.
        looked = dict(entries)
        for shape, entry in entries.items():
            limit = CLOSE_FACTOR * entry.seconds.get(entry.plan, 0.0)
            close = {name: plan for name, plan in plans.items() if entry.seconds.get(name, inf) <= limit}
            expected = (3 + self.effort.min_rounds) * sum(entry.seconds[name] for name in close)
            if len(close) > 1 and perf_counter() + expected < deadline:
                again = self._time(close, shape)
                seconds = {name: min(s, again.get(name, inf)) for name, s in entry.seconds.items()}
                looked[shape] = Entry(_best(seconds), seconds)
        return looked

    def _time(self, plans: Mapping[str, Plan], shape: Shape) -> dict[str, float]:
        batch = self._sample(shape)
        runs: dict[str, Run] = {name: partial(plan.run, *batch) for name, plan in plans.items()}
        return interleaved(runs, stopwatch(self.device), self.effort)

    def _drop_broken(self) -> None:
        batch = self._sample(Shape(3, 2))
        want = self.factory.plan(self.factory.default).run(*batch)
        wanted = {*self._names(is_ragged=False), *self._names(is_ragged=True)} - {self.factory.default}
        for name in [name for name in self.factory.candidates if name in wanted]:
            if reason := self._reason_against(name, batch, want):
                if self.only:
                    raise ValueError(
                        f"plans: plan {name!r} of model {self.spec.name} is broken on this machine: {reason}"
                    )
                log.warning("plan %s of model %s is left out: %s", name, self.spec.name, reason)
                self.factory.drop(name)

    def _reason_against(self, name: str, batch: tuple[Packed, State], want: tuple[torch.Tensor, State]) -> str:
        try:
            error = self._error(self.factory.plan(name).run(*batch), want)
        except Exception as reason:  # noqa: BLE001 - backends raise what they like; the default plan is left
            return str(reason)
        is_near = error <= TOLERANCES[self.factory.candidates[name].precision]  # what is not a number is not near
        return "" if is_near else f"it is {error:g} off"


def sample(spec: ModelSpec, shape: Shape, device: torch.device) -> tuple[Packed, State]:
    """A random batch of `shape` for a plan: data [N, input_size], the state of its rows."""
    sizes = shape.batch_sizes
    data = torch.randn(int(sizes.sum()), spec.input_size, device=device)
    zeros = State.zeros(spec, shape.rows, device)
    return Packed(data, sizes), State(zeros.h + 0.1, None if zeros.c is None else zeros.c + 0.1)


def _best(seconds: Mapping[str, float]) -> str:
    limit = NEAR_FACTOR * min(seconds.values())
    return next(name for name, one in seconds.items() if one <= limit)


def _hopeful(plans: Mapping[str, Plan], shape: Shape, entries: Mapping[Shape, Entry]) -> dict[str, Plan]:
    """`plans` without those that lost by far at the latest two shapes of fewer rows and as many steps."""
    smaller = [e for s, e in entries.items() if s.steps == shape.steps and s.rows >= FEW_ROWS][-2:]
    limits = [HOPELESS_FACTOR * entry.seconds[entry.plan] for entry in smaller]
    pairs = list(zip(smaller, limits, strict=True))
    return {
        name: plan
        for name, plan in plans.items()
        if len(pairs) < 2 or any(entry.seconds.get(name, inf) <= limit for entry, limit in pairs)
    }


def largest_error(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """The largest difference x max(1, |want|), of pairs got and want."""
    return max(float(((got - want).abs() / want.abs().clamp(min=1)).max()) for got, want in pairs)
