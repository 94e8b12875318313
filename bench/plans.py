"""Is the plan that is chosen the best one? Every candidate, interleaved in one process, against the chosen one and
against plain torch.nn.

    python -m bench.plans [--short] [--threads N] [--precision int8] [--out FILE]

The plan table is filled as the server fills it, then every candidate runs every shape: medians of 7
to 99 interleaved rounds.
A ratio above 1 means that the chosen plan is faster. With one thread the clock is that thread's, so that other
processes count only as far as they take cache and memory. The grid: LSTM, GRU and RNN of 2 layers, input 64, hidden
128, 256 and 512; 1 to 256 rows of 1, 4 and 16 steps, and ragged ones of up to 16. For a lower precision the best plan
that has it is held against the best of all wider ones.
"""

import argparse
import json
import platform
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from math import exp, log
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from bench.kept import kept_path
from elman_models import Cell, ModelSpec, Packed, Stack, State
from elman_models.plans.cache import cache_key
from elman_models.plans.candidates import candidates
from elman_models.plans.factory import PlanFactory
from elman_models.plans.measure import Effort, interleaved, stopwatch
from elman_models.plans.plan import Plan
from elman_models.plans.table import Shape
from elman_models.plans.warm_up import sample
from elman_server.loadgen.report.machine import date_now

CPU = torch.device("cpu")
CELLS = (Cell.LSTM, Cell.GRU, Cell.RNN_TANH)
TORCH = "torch.nn"
LOWER = ("bfloat16", "int8")
"""Precisions that a model may allow, the wider one first; names of plans end with them."""
EFFORT = Effort(min_rounds=7, max_rounds=99, max_seconds=0.4, sample_seconds=5e-4, give_up_factor=float("inf"))


@dataclass(frozen=True)
class Point:
    """One line: a model, a shape, and what every plan took."""

    cell: str
    hidden_size: int
    shape: str
    is_ragged: bool
    chosen: str
    seconds: dict[str, float]

    def ratio(self, name: str) -> float:
        """How many times faster the chosen plan is; NaN where the other cannot run."""
        return self.seconds.get(name, float("nan")) / self.seconds[self.chosen]

    @property
    def of_best(self) -> float:
        """The chosen plan's speed as a share of the fastest candidate's."""
        return min(s for name, s in self.seconds.items() if name != TORCH) / self.seconds[self.chosen]

    def gain(self, precision: str) -> float:
        """How many times faster its best plan is than the best of all wider ones; NaN where it has none."""
        narrower = LOWER[LOWER.index(precision) :]
        mine = [s for name, s in self.seconds.items() if name.endswith(precision)]
        wider = [s for name, s in self.seconds.items() if name != TORCH and not name.endswith(narrower)]
        return min(wider) / min(mine) if mine else float("nan")


@torch.inference_mode()  # as the server runs them, and as users should run torch.nn
def main() -> None:
    """Measures and prints; writes JSON."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    points: list[Point] = []
    for cell in CELLS:
        for hidden_size in (128, 256) if arguments.short else (128, 256, 512):
            points += measure(cell, hidden_size, arguments)
    print(summary(points))
    out = arguments.out or kept_path("plans", CPU, arguments.precision)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report(points, arguments), indent=1) + "\n")
    print(f"written: {out}")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--short", action="store_true", help="a part of the grid, in half a minute")
    parser.add_argument("--threads", type=int, default=1, help="default 1, as the servers of the other benchmarks")
    parser.add_argument("--precision", choices=["float32", *LOWER], default="float32")
    parser.add_argument("--budget", type=float, default=12.0, help="seconds of warm-up per model")
    parser.add_argument("--out", type=Path, help="JSON file; default bench/results/plans-MACHINE[-PRECISION].json")
    return parser.parse_args()


def grid(*, short: bool) -> list[Shape]:
    """The shapes: each number of rows with each of steps, and ragged ones of several rows."""
    rows, steps = ((1, 32, 128), (1, 16)) if short else ((1, 8, 32, 128, 256), (1, 4, 16))
    return [*(Shape(r, s) for r in rows for s in steps), *(Shape(r, 16, True) for r in rows[1:])]


def measure(cell: Cell, hidden_size: int, arguments: argparse.Namespace) -> Iterable[Point]:
    """Every shape of one model, printed as it is done."""
    stack = make_stack(cell, hidden_size, arguments.precision)
    stack.warm_up(budget_seconds=arguments.budget)
    factory = PlanFactory(stack.spec, candidates(stack.spec, stack.rnn))
    plain = deepcopy(stack.rnn)  # else "native", which comes next, finds its weights in the cache
    for shape in grid(short=arguments.short):
        batch = sample(stack.spec, shape, CPU)
        plans = plans_of(stack, factory, shape)
        runs: dict[str, Callable[[], object]] = {name: partial(plan.run, *batch) for name, plan in plans.items()}
        runs[TORCH] = partial(run_torch, plain, *batch)
        chosen = stack.plans.choose(shape.batch_sizes).name
        seconds = interleaved(runs, stopwatch(CPU), EFFORT)
        point = Point(cell, hidden_size, str(shape), shape.is_ragged, chosen, seconds)
        print(line(point), flush=True)
        yield point


def plans_of(stack: Stack, factory: PlanFactory, shape: Shape) -> dict[str, Plan]:
    """All that can run the shape: the table's own, one of which was chosen, and the factory's where it has none."""
    own, names = stack.plans.plans, factory.names(is_ragged=shape.is_ragged)
    plans = factory.plans([name for name in names if name not in own], stack.plans.entries) | own
    return {name: plans[name] for name in names}


def make_stack(cell: Cell, hidden_size: int, precision: str) -> Stack:
    """A model with weights as torch initialises them."""
    fields = {"name": "bench", "cell": cell, "input_size": 64, "hidden_size": hidden_size, "num_layers": 2}
    spec = ModelSpec.model_validate(fields | {"precision": precision})
    bound = hidden_size**-0.5
    weights = {name: torch.empty(shape).uniform_(-bound, bound) for name, shape in spec.parameter_shapes().items()}
    return Stack(spec, weights, CPU)


def run_torch(module: nn.RNNBase, input: Packed, state: State) -> object:
    """torch.nn as users have it: its switches as torch sets them."""
    hx = state.h if state.c is None else (state.h, state.c)
    if input.is_ragged:
        return module(PackedSequence(input.data, torch.from_numpy(input.batch_sizes)), hx)
    return module(input.data.view(input.seq_len, input.num_rows, -1), hx)


def line(point: Point) -> str:
    """One point for people."""
    others = ", ".join(f"{name} {point.ratio(name):.2f}" for name in sorted(point.seconds) if name != point.chosen)
    rate = f"{1e6 * point.seconds[point.chosen]:>9.0f} us"
    return (
        f"{point.cell:<9}{point.hidden_size:>4} {point.shape:<14}{point.chosen:<20}{rate}"
        f"  {100 * point.of_best:4.0f}% of the best; times faster than {others}"
    )


def summary(points: list[Point]) -> str:
    """The claims: least and geometric mean, per cell, equally long rows and ragged ones apart."""
    lines = [f"{'':<18}{'% of best':>16}{'x ort':>16}{'x torch.nn':>16}", f"{'':<18}" + "   least geomean" * 3]
    for is_ragged in (False, True):
        for cell in dict.fromkeys(point.cell for point in points):
            mine = [p for p in points if p.cell == cell and p.is_ragged == is_ragged]
            label = f"{cell}{' ragged' if is_ragged else ''}"
            pairs = [least_and_mean([p.of_best for p in mine])]
            pairs += [least_and_mean([p.ratio(name) for p in mine]) for name in ("ort", TORCH)]
            lines.append(f"{label:<18}" + "".join(f"{least:>8.2f}{mean:>8.2f}" for least, mean in pairs))
    return "\n".join([*lines, *gains(points)])


def gains(points: list[Point]) -> Iterable[str]:
    """A line for each precision and model: how many times faster than all wider ones it makes each shape."""
    for precision in LOWER:
        known = [p for p in points if p.gain(precision) == p.gain(precision) and not p.is_ragged]
        for cell, hidden_size in dict.fromkeys((p.cell, p.hidden_size) for p in known):
            mine = [p for p in known if (p.cell, p.hidden_size) == (cell, hidden_size)]
            yield f"{precision} over wider, {cell} {hidden_size}: " + ", ".join(
                f"{p.shape} {p.gain(precision):.2f}" for p in mine
            )


def least_and_mean(ratios: list[float]) -> tuple[float, float]:
    """The least and the geometric mean, of those that are numbers."""
    known = [ratio for ratio in ratios if ratio == ratio]
    if not known:
        return float("nan"), float("nan")
    return min(known), exp(sum(map(log, known)) / len(known))


def report(points: list[Point], arguments: argparse.Namespace) -> Mapping[str, object]:
    """What is written: machine, versions and every time."""
    key = cache_key(make_stack(Cell.LSTM, 8, arguments.precision).spec, CPU)
    about = {name: key[name] for name in ("machine", "threads", "elman-models", "torch", "onnxruntime")}
    return {
        "about": about
        | {"python": platform.python_version(), "precision": arguments.precision}
        | {"clock": stopwatch(CPU).__name__, "date": date_now()},
        "points": [asdict(point) for point in points],
        "summary": summary(points).splitlines(),
    }


if __name__ == "__main__":
    main()
