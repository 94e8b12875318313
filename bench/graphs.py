"""What running a model as a graph costs: steps of a graph against the same torch module's bare loop, interleaved.

    python -m bench.graphs [--short]

A GRU (2 x 256) with LayerNorm and two heads, and a convolution with an LSTM (256) and a sigmoid, of one step of 1, 32
and 256 rows, states carried on: as the tables have it, which may be all nodes together in onnxruntime (`ort-graph`),
and node after node. Then a model of format 1 as a graph against its `Stack`. One thread. A ratio above 1 means that the
graph is faster.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import nn

from bench.result import Bar, Result
from elman_models import Cell, GraphSpec, GraphStack, ModelSpec, Packed, PackedInputs, Stack, graph_of
from elman_models.plans.cache import PlanCache
from elman_models.plans.measure import Effort, interleaved, stopwatch

CPU = torch.device("cpu")
INPUT, HIDDEN = 64, 256
ROWS = (1, 32, 256)
KERNEL = 3
FULL = Effort(min_rounds=15, max_rounds=199, max_seconds=4.0, sample_seconds=2e-3, give_up_factor=float("inf"))
SHORT = Effort(min_rounds=7, max_rounds=49, max_seconds=1.0, sample_seconds=1e-3, give_up_factor=float("inf"))
Run = Callable[[], object]
Tensors = tuple[torch.Tensor, ...]


class ActorCritic(nn.Module):
    """A GRU, LayerNorm, policy and value."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.norm = nn.GRU(INPUT, HIDDEN, 2), nn.LayerNorm(HIDDEN)
        self.policy, self.value = nn.Linear(HIDDEN, 16), nn.Linear(HIDDEN, 1)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> Tensors:
        """x [1, B, INPUT]; outputs, then the state."""
        y, h = self.rnn(x, h)
        y = self.norm(y)
        return self.policy(y), self.value(y), h

    @staticmethod
    def begin(rows: int) -> Tensors:
        """Its state."""
        return (torch.zeros(2, rows, HIDDEN),)


class VoiceActivity(nn.Module):
    """A causal convolution, an LSTM, a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.rnn, self.head = nn.Conv1d(INPUT, HIDDEN, KERNEL), nn.LSTM(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 1)

    def forward(self, x: torch.Tensor, cache: torch.Tensor, h: torch.Tensor, c: torch.Tensor) -> Tensors:
        """x [1, B, INPUT]; output, then the state."""
        seen = torch.cat([cache, x.permute(1, 2, 0)], 2)
        y, (h, c) = self.rnn(torch.relu(self.conv(seen)).permute(2, 0, 1), (h, c))
        return torch.sigmoid(self.head(y)), seen[..., 1:], h, c

    @staticmethod
    def begin(rows: int) -> Tensors:
        """Its state."""
        return torch.zeros(rows, INPUT, KERNEL - 1), torch.zeros(1, rows, HIDDEN), torch.zeros(1, rows, HIDDEN)


def fields(name: str, op: str, input: str, names: str, **parameters: object) -> dict[str, object]:
    """A node whose tensors are those of the module's attribute of its name."""
    weights = {one: f"{name}.{one}" for one in names.split()}
    return {"name": name, "op": op, "inputs": [input], "parameters": parameters, "weights": weights}


def recurrence(op: str, input: str, layers: int) -> dict[str, object]:
    """The node `rnn`."""
    names = [f"{one}_l{n}" for n in range(layers) for one in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    node = fields("rnn", op, input, " ".join(names), hidden_size=HIDDEN, num_layers=layers)
    return node | {"states": {own: own for own in ("hc" if op == "lstm" else "h")}}


def graphs() -> dict[str, tuple[nn.Module, Callable[[int], Tensors], GraphSpec]]:
    """The modules, how their states begin, and their graphs."""
    x = [{"name": "x", "features": [INPUT]}]
    h, c = ({"name": name, "features": [HIDDEN]} for name in "hc")
    actor_critic = {
        "states": [h | {"layers": 2}],
        "nodes": [
            recurrence("gru", "x", 2),
            fields("norm", "layer_norm", "rnn", "weight bias", normalized_shape=[HIDDEN]),
            fields("policy", "linear", "norm", "weight bias", out_features=16),
            fields("value", "linear", "norm", "weight bias", out_features=1),
        ],
        "outputs": [{"name": name, "value": name} for name in ("policy", "value")],
    }
    conv = fields("conv", "causal_conv1d", "x", "weight bias", out_channels=HIDDEN, kernel_size=KERNEL)
    voice = {
        "states": [{"name": "cache", "features": [INPUT, KERNEL - 1]}, h | {"layers": 1}, c | {"layers": 1}],
        "nodes": [
            conv | {"states": {"cache": "cache"}},
            fields("relu", "relu", "conv", ""),
            recurrence("lstm", "relu", 1),
            fields("head", "linear", "rnn", "weight bias", out_features=1),
            fields("speech", "sigmoid", "head", ""),
        ],
        "outputs": [{"name": "speech", "value": "speech"}],
    }
    common = {"name": "bench", "inputs": x}
    return {
        "GRU, LayerNorm, two heads": (
            ActorCritic(),
            ActorCritic.begin,
            GraphSpec.model_validate(common | actor_critic),
        ),
        "conv, LSTM, sigmoid": (VoiceActivity(), VoiceActivity.begin, GraphSpec.model_validate(common | voice)),
    }


def module_run(module: nn.Module, state: Tensors, rows: int) -> Run:
    """One step of the bare module after the other."""
    x, kept = torch.randn(1, rows, INPUT), list(state)

    def run() -> None:
        kept[:] = module(x, *kept)[-len(kept) :]

    return run


def graph_run(stack: GraphStack, rows: int) -> Run:
    """One step of the graph after the other."""
    inputs, kept = PackedInputs((torch.randn(rows, INPUT),), np.array([rows])), [stack.initial_state(rows)]

    def run() -> None:
        kept[0] = stack.step(inputs, kept[0])[1]

    return run


def stack_run(stack: Stack, rows: int) -> Run:
    """One step of the stack after the other."""
    packed, kept = Packed(torch.randn(rows, INPUT), np.array([rows])), [stack.initial_state(rows)]

    def run() -> None:
        kept[0] = stack.step(packed, kept[0])[1]

    return run


def against_modules(effort: Effort) -> Iterator[Bar]:
    """Each graph at each number of rows: as its tables have it, and node after node."""
    for name, (module, begin, spec) in graphs().items():
        stack = GraphStack(spec, module.state_dict(), CPU)
        stack.warm_up(cache=PlanCache.of_user())
        nodes = stack.with_plans(stack.plans)
        for rows in ROWS:
            runs = {"graph": graph_run(stack, rows), "nodes": graph_run(nodes, rows)}
            seconds = measured(runs | {"other": module_run(module, begin(rows), rows)}, effort)
            limit, by = 1.0 if rows == 1 else 0.9, f"{name}, {rows} rows (by {stack.plan_name})"
            yield Bar(f"{by}: graph / bare module", seconds["other"] / seconds["graph"], limit, at_most=False)
            yield Bar(f"{by}: graph / node after node", seconds["nodes"] / seconds["graph"], 0.97, at_most=False)
            ratio = seconds["other"] / seconds["nodes"]
            yield Bar(f"{name}, {rows} rows: node after node / bare module", ratio, limit, at_most=False)


def against_stack(effort: Effort) -> Iterator[Bar]:
    """A model of format 1 as a graph."""
    spec = ModelSpec(name="bench", cell=Cell.LSTM, input_size=INPUT, hidden_size=HIDDEN, num_layers=2)
    bound = HIDDEN**-0.5
    weights = {name: torch.empty(shape).uniform_(-bound, bound) for name, shape in spec.parameter_shapes().items()}
    stack, graph = Stack(spec, weights, CPU), GraphStack(graph_of(spec), weights, CPU)
    stack.warm_up(cache=PlanCache.of_user())
    graph.take(dict.fromkeys(graph.plans, stack.plans))  # the same tables, and the same packed weights
    for rows in ROWS:
        seconds = measured({"graph": graph_run(graph, rows), "other": stack_run(stack, rows)}, effort)
        ratio = seconds["other"] / seconds["graph"]
        yield Bar(f"LSTM of format 1, {rows} rows: as a graph / as a stack", ratio, 0.97, at_most=False)


def measured(runs: Mapping[str, Run], effort: Effort) -> dict[str, float]:
    """Seconds of one run of each, interleaved."""
    return interleaved(runs, stopwatch(CPU), effort)


@torch.inference_mode()  # as the server runs them, and as users should run torch.nn
def measure(effort: Effort) -> Result:
    """All ratios, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return Result("graphs", bars=(*against_modules(effort), *against_stack(effort)))
    finally:
        torch.set_num_threads(before)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="in a quarter of the time")
    print(measure(SHORT if parser.parse_args().short else FULL))


if __name__ == "__main__":
    main()
