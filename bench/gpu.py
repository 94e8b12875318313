"""Plans on a card: session-steps per second and time per launch, against the bare torch.nn loop on the same card.

    python -m bench.gpu [--cells lstm,gru] [--hidden 256,1024] [--precision float32|bfloat16|float16] [--out FILE]

Rows 1 to 4096, steps 1, 4 and 16; every plan and the bare module interleaved, medians of 7 rounds. A launch is timed
from its call until the card is done, averaged over those of a round; inputs and states lie on the card.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn

from bench.kept import kept_path
from bench.plans import plans_of
from elman_models import ModelSpec, Packed, Stack, State
from elman_models.plans.cache import cache_key
from elman_models.plans.candidates import candidates
from elman_models.plans.factory import PlanFactory
from elman_models.plans.measure import Effort, interleaved, stopwatch
from elman_models.plans.table import Shape
from elman_models.plans.warm_up import sample
from elman_server.loadgen.report.machine import date_now

CUDA = torch.device("cuda")
BARE = "torch.nn"
ROWS = (1, 8, 32, 128, 512, 1024, 4096)
EFFORT = Effort(min_rounds=7, max_rounds=7, sample_seconds=5e-3, give_up_factor=float("inf"))


@dataclass(frozen=True)
class Point:
    """One model and shape: the plan that the table chooses, and what every plan took."""

    cell: str
    hidden_size: int
    rows: int
    steps: int
    chosen: str
    seconds: dict[str, float]

    @property
    def steps_per_second(self) -> float:
        """Session-steps per second by the chosen plan."""
        return self.rows * self.steps / self.seconds[self.chosen]

    def line(self) -> str:
        """The point for people."""
        others = ", ".join(f"{name} {1e6 * s:.0f}" for name, s in self.seconds.items())
        return (
            f"{self.cell:<9}{self.hidden_size:>5}{self.rows:>6}x{self.steps:<4}{self.chosen:<20}"
            f"{1e6 * self.seconds[self.chosen]:>9.0f} us{self.steps_per_second:>14,.0f} steps/s"
            f"{self.seconds[BARE] / self.seconds[self.chosen]:>7.2f}x bare   ({others})"
        )


@torch.inference_mode()
def main() -> int:
    """Measures, prints and writes."""
    arguments = parse()
    if not torch.cuda.is_available():
        print("no CUDA device: nothing is measured", file=sys.stderr)
        return 1
    points = []
    for cell in arguments.cells.split(","):
        for hidden_size in map(int, arguments.hidden.split(",")):
            for point in measure(make_stack(cell, hidden_size, arguments.precision)):
                print(point.line(), flush=True)
                points.append(point)
    out = arguments.out or kept_path("gpu", CUDA, arguments.precision)
    out.parent.mkdir(parents=True, exist_ok=True)
    about = {**cache_key(make_stack("lstm", 8, arguments.precision).spec, CUDA), "cuda": str(torch.version.cuda)}
    about |= {"cudnn": str(torch.backends.cudnn.version())}  # type: ignore[no-untyped-call]
    about |= {"precision": arguments.precision, "date": date_now()}
    out.write_text(json.dumps({"about": about, "points": [asdict(point) for point in points]}, indent=1) + "\n")
    print(f"written: {out}")
    return 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cells", default="lstm,gru,rnn_tanh")
    parser.add_argument("--hidden", default="256,1024")
    parser.add_argument("--precision", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--out", type=Path, help="JSON file; default bench/results/gpu-MACHINE[-PRECISION].json")
    return parser.parse_args()


def measure(stack: Stack) -> Iterator[Point]:
    """Every shape of one model."""
    stack.warm_up(budget_seconds=10)
    factory = PlanFactory(stack.spec, candidates(stack.spec, stack.rnn))
    for rows in ROWS:
        for steps in (1, 4, 16):
            shape = Shape(rows, steps)
            batch = sample(stack.spec, shape, CUDA)
            plans = plans_of(stack, factory, shape)
            runs: dict[str, Callable[[], object]] = {name: partial(plan.run, *batch) for name, plan in plans.items()}
            runs[BARE] = partial(run_bare, stack.rnn, *batch)
            for run in runs.values():
                run()  # graphs are captured when a shape comes the second time
            seconds = interleaved(runs, stopwatch(CUDA), EFFORT)
            chosen = stack.plans.choose(shape.batch_sizes).name
            yield Point(stack.spec.cell, stack.spec.hidden_size, rows, steps, chosen, seconds)


def make_stack(cell: str, hidden_size: int, precision: str) -> Stack:
    """A model with weights as torch initialises them."""
    fields = {"name": "bench", "cell": cell, "input_size": 64, "hidden_size": hidden_size, "num_layers": 2}
    spec = ModelSpec.model_validate(fields | {"precision": precision})
    bound = hidden_size**-0.5
    weights = {name: torch.empty(shape).uniform_(-bound, bound) for name, shape in spec.parameter_shapes().items()}
    return Stack(spec, weights, CUDA)


def run_bare(module: nn.RNNBase, input: Packed, state: State) -> object:
    """What a loop over torch.nn does for one launch."""
    return module(
        input.data.view(input.seq_len, input.num_rows, -1), state.h if state.c is None else (state.h, state.c)
    )


if __name__ == "__main__":
    sys.exit(main())
