"""Would int8 weights pay on this CPU? The fused step on 8-bit integers against the best float32 and bfloat16 plans.

    python -m bench.int8 [--threads N] [--cells lstm,gru,rnn_tanh] [--hidden 128,256,512] [--out FILE]

elman has no such plan: this is what is measured before there is one. Weights are rounded to int8 with a scale for each
output, inputs and states with a scale for each row, so that no row's result depends on its neighbours; their product is
a 32-bit integer. The error is the largest over 100 steps, against float64, beside bfloat16's.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from bench.plans import CPU, EFFORT, make_stack
from elman_models import Cell, ModelSpec, State
from elman_models.packed import Packed
from elman_models.plans.affine import Activation
from elman_models.plans.cache import machine
from elman_models.plans.candidates import candidates
from elman_models.plans.fused import FusedPlan
from elman_models.plans.measure import interleaved, stopwatch
from elman_models.plans.plan import Plan
from elman_models.plans.table import Shape
from elman_models.plans.warm_up import sample
from elman_models.plans.workshop import Workshop
from elman_models.stack import recurrent_module

SHAPES = tuple(Shape(rows, steps) for rows in (1, 8, 32, 128, 256) for steps in (1, 4))
STEPS, ROWS = 100, 4
INT8 = "fused_int8"
ACTIVATIONS: dict[Activation, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda y: y,
    "sigmoid": torch.sigmoid_,
    "tanh": torch.tanh_,
    "relu": torch.relu_,
}


class Int8Affine:
    """`activation(x @ weight.T + bias)` by a product of 8-bit integers."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, activation: Activation) -> None:
        self._scale = weight.abs().amax(1) / 127  # [out_features]
        self._weight = torch.round(weight / self._scale[:, None]).to(torch.int8).t().contiguous()
        self._bias = bias
        self._activation = ACTIVATIONS[activation]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See `elman_models.plans.affine.Affine`."""
        scale = x.abs().amax(1, keepdim=True).clamp_(min=1e-12) / 127  # [B, 1]
        product = torch._int_mm(torch.round(x / scale).to(torch.int8), self._weight)
        y = product.float().mul_(scale).mul_(self._scale)
        return self._activation(y if self._bias is None else y.add_(self._bias))


@dataclass(frozen=True)
class Point:
    """One shape of one model."""

    cell: str
    hidden_size: int
    shape: str
    seconds: dict[str, float]

    def best(self, is_wanted: Callable[[str], bool]) -> float:
        """The least time of the plans with such names."""
        return min(seconds for name, seconds in self.seconds.items() if is_wanted(name))

    @property
    def over_float32(self) -> float:
        """How many times faster int8 is than the best float32 plan."""
        return self.best(lambda name: "bfloat16" not in name and name != INT8) / self.seconds[INT8]

    @property
    def over_bfloat16(self) -> float:
        """How many times faster int8 is than the best bfloat16 plan."""
        return self.best(lambda name: "bfloat16" in name) / self.seconds[INT8]


@torch.inference_mode()
def main() -> None:
    """Measures and prints; writes JSON, if asked to."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    points: list[Point] = []
    for cell in arguments.cells.split(","):
        for hidden_size in map(int, arguments.hidden.split(",")):
            points += measure(Cell(cell), hidden_size)
    wins = [p for p in points if min(p.over_float32, p.over_bfloat16) > 1]
    print(f"int8 is the fastest at {len(wins)} of {len(points)} points")
    if arguments.out:
        about = {"machine": machine(CPU), "torch": torch.__version__, "threads": arguments.threads}
        arguments.out.write_text(json.dumps({"about": about, "points": [asdict(p) for p in points]}, indent=1) + "\n")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.int8", description="Would int8 weights pay on this CPU?")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cells", default="lstm,gru,rnn_tanh", help="default: all")
    parser.add_argument("--hidden", default="128,256,512", help="default: 128,256,512")
    parser.add_argument("--out", type=Path, help="JSON file")
    return parser.parse_args()


def measure(cell: Cell, hidden_size: int) -> Iterable[Point]:
    """Every shape of one model, printed as it is done."""
    stack = make_stack(cell, hidden_size, "bfloat16")
    workshop = Workshop(stack.spec, candidates(stack.spec, stack.rnn))
    plans = {name: workshop.plan(name) for name in workshop.names(is_ragged=False)}
    plans[INT8] = FusedPlan(INT8, stack.spec, stack.rnn, Int8Affine)
    errors = error(stack.spec, stack.rnn, plans[INT8]), error(stack.spec, stack.rnn, plans["fused_bfloat16"])
    print(f"{cell} {hidden_size}: error of int8 {errors[0]:.4f}, of bfloat16 {errors[1]:.4f}")
    for shape in SHAPES:
        batch = sample(stack.spec, shape, CPU)
        seconds = interleaved({n: partial(p.run, *batch) for n, p in plans.items()}, stopwatch(CPU), EFFORT)
        point = Point(cell, hidden_size, str(shape), seconds)
        print(f"  {shape!s:<8} {point.over_float32:.2f} of float32, {point.over_bfloat16:.2f} of bfloat16", flush=True)
        yield point


def error(spec: ModelSpec, rnn: torch.nn.RNNBase, plan: Plan) -> float:
    """The largest error of the output over 100 steps, against float64."""
    exact = recurrent_module(spec).double()
    exact.load_state_dict({name: tensor.double() for name, tensor in rnn.state_dict().items()})
    batch, _ = sample(spec, Shape(ROWS, STEPS), CPU)
    want = exact(batch.data.double().view(STEPS, ROWS, -1))[0]
    output, _ = plan.run(Packed(batch.data, batch.batch_sizes), State.zeros(spec, ROWS, CPU))
    return float((output.view(STEPS, ROWS, -1) - want).abs().max())


if __name__ == "__main__":
    main()
