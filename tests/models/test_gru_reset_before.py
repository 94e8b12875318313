"""A GRU whose reset gate stands before the product: what its formula gives, in chunks and whole graphs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from graph_networks import Fields, floats, graph
from numpy.typing import NDArray
from recurrent_cases import CPU, assert_near, unpack
from torch import nn

from elman_models import ExportError, GraphPool, GraphStack, PackedInputs, batch_sizes, pack
from elman_models.export.reset_before import ResetBeforeGRU
from elman_models.graph.operations import operation_of
from elman_models.graph.value import Per, Value

GIVEN, SIZE = 4, 5
STEP = Value((GIVEN,))


def by_formula(x: NDArray[Any], h: NDArray[Any], weights: dict[str, torch.Tensor]) -> NDArray[Any]:
    """[T, size] of one row [T, given] that begins with `h`: Cho et al. 2014, gate by gate, in float64."""
    w, u = (np.split(weights[name].double().numpy(), 3) for name in ("weight_ih_l0", "weight_hh_l0"))
    zeros = torch.zeros(3 * SIZE)
    b, d = (np.split(weights.get(name, zeros).double().numpy(), 3) for name in ("bias_ih_l0", "bias_hh_l0"))
    outputs = []
    for given in x:
        r, z = (1 / (1 + np.exp(-(w[i] @ given + b[i] + u[i] @ h + d[i]))) for i in (0, 1))
        n = np.tanh(w[2] @ given + b[2] + u[2] @ (r * h) + d[2])
        h = z * h + (1 - z) * n
        outputs.append(h)
    return np.stack(outputs)


def weights_of(*, bias: bool = True) -> dict[str, torch.Tensor]:
    wanted = operation_of("gru_reset_before", {"hidden_size": SIZE, "bias": bias}).weights([STEP])
    return {name: torch.rand(weight.shape) * 2 - 1 for name, weight in wanted.items()}


def gru(name: str = "rnn", *inputs: str, state: str = "h") -> Fields:
    own = {key: f"{name}.{key}" for key in weights_of()}
    states = {"h": state} if state else {}
    parameters = {"hidden_size": SIZE}
    return {
        "name": name,
        "op": "gru_reset_before",
        "inputs": list(inputs) or ["x"],
        "parameters": parameters,
        "weights": own,
        "states": states,
    }


def streaming(weights: dict[str, torch.Tensor]) -> GraphStack:
    states = [{"name": "h", "features": [SIZE], "layers": 1}]
    spec = graph([gru()], {"y": "rnn"}, inputs=[floats("x", GIVEN)], states=states)
    return GraphStack(spec, {f"rnn.{name}": tensor for name, tensor in weights.items()}, CPU)


def packed(rows: list[torch.Tensor]) -> PackedInputs:
    sizes = batch_sizes(np.array([len(row) for row in rows]))
    return PackedInputs((torch.cat([torch.stack([r[t] for r in rows[:n]]) for t, n in enumerate(sizes)]),), sizes)


@pytest.mark.parametrize("bias", [True, False])
def test_it_gives_what_the_formula_gives_on_rows_of_any_length_from_any_state(bias: bool) -> None:
    torch.manual_seed(1)
    operation, weights = operation_of("gru_reset_before", {"hidden_size": SIZE, "bias": bias}), weights_of(bias=bias)
    lengths = [6, 4, 4, 1]
    rows, begin = [torch.randn(n, GIVEN) for n in lengths], torch.randn(1, 4, SIZE)
    inputs = packed(rows)
    y, end = operation.bind([STEP], weights)(inputs.batch_sizes, *inputs.data, begin)
    assert end.shape == (1, 4, SIZE)
    for index, (row, got) in enumerate(zip(rows, unpack(y, lengths), strict=True)):
        want = torch.from_numpy(by_formula(row.numpy(), begin[0, index].numpy(), weights)).float()
        assert_near(got, want)
        assert torch.equal(end[0, index], got[-1])


@pytest.mark.parametrize("batch_first", [True, False])
def test_the_module_of_it_gives_what_the_formula_gives_both_ways_from_any_state(batch_first: bool) -> None:
    torch.manual_seed(2)
    ways = [weights_of(), weights_of()]
    module = ResetBeforeGRU(GIVEN, SIZE, bidirectional=True, batch_first=batch_first)
    module.load_state_dict({**ways[0], **{f"{name}_reverse": tensor for name, tensor in ways[1].items()}})
    x, begin = torch.randn(3, 6, GIVEN), torch.randn(2, 3, SIZE)
    with torch.no_grad():
        y, ends = module(x if batch_first else x.transpose(0, 1), begin)
    y = y if batch_first else y.transpose(0, 1)
    for row in range(3):
        forth, back = (
            torch.from_numpy(by_formula(one.numpy(), begin[way, row].numpy(), ways[way])).float()
            for way, one in enumerate((x[row], x[row].flip(0)))
        )
        assert_near(y[row], torch.cat([forth, back.flip(0)], 1))
        assert_near(ends[:, row], torch.stack([forth[-1], back[-1]]))


def test_sessions_in_chunks_of_any_length_give_what_the_formula_gives() -> None:
    torch.manual_seed(3)
    weights = weights_of()
    stack = streaming(weights)
    stack.warm_up(budget_seconds=0.0)
    rows = [torch.randn(n, GIVEN) for n in (7, 6, 3)]
    pool: GraphPool = stack.pool(5)
    slots = np.array([4, 0, 2])
    pool.reset(slots, {})
    got: list[list[torch.Tensor]] = [[], [], []]
    for takes in [[(0, 0, 3), (1, 0, 2), (2, 0, 1)], [(1, 2, 5), (2, 1, 3)], [(0, 3, 7), (1, 5, 6)]]:
        index = slots[[row for row, _, _ in takes]]
        given, state = stack.step(packed([rows[row][a:b] for row, a, b in takes]), pool.read(index))
        pool.replace(index, state)
        for (row, _, _), part in zip(takes, unpack(given["y"], [b - a for _, a, b in takes]), strict=True):
            got[row].append(part)
    for whole, parts in zip(rows, got, strict=True):
        want = by_formula(whole.numpy(), np.zeros(SIZE), weights)
        assert_near(torch.cat(parts), torch.from_numpy(want).float())


@pytest.mark.parametrize("begins", ["at zeros", "with an input"])
def test_in_a_whole_graph_it_runs_backwards_and_gives_what_rows_end_with(begins: str) -> None:
    torch.manual_seed(4)
    weights, has_begin = weights_of(), begins == "with an input"
    nodes: list[Fields] = [
        {"name": "back", "op": "time_flip", "inputs": ["x"]},
        {"name": "begin", "op": "reshape", "inputs": ["h0"], "parameters": {"features": [1, SIZE]}},
        gru("rnn", "back", *["begin"] * has_begin, state=""),
    ]
    nodes = nodes if has_begin else [nodes[0], nodes[2]]
    more: Fields = {"context": [floats("h0", SIZE)]} if has_begin else {}
    ends = {"y": "rnn", "end": "rnn:h_n"}
    spec = graph(nodes, ends, kind="whole", inputs=[floats("x", GIVEN)], **more)
    stack = GraphStack(spec, {f"rnn.{name}": tensor for name, tensor in weights.items()}, CPU)
    rows, h0 = [torch.randn(n, GIVEN) for n in (5, 5, 2)], torch.randn(3, SIZE)
    begin = h0 if has_begin else torch.zeros(3, SIZE)
    outputs, _ = stack.step(packed(rows), stack.initial_state(3, {"h0": h0} if has_begin else {}))
    for index, (row, got) in enumerate(zip(rows, unpack(outputs["y"], [5, 5, 2]), strict=True)):
        want = torch.from_numpy(by_formula(row.flip(0).numpy(), begin[index].numpy(), weights)).float()
        assert_near(got, want)
        assert_near(outputs["end"][index, 0], want[-1])


def test_that_onnxruntime_does_not_run_the_whole_graph_is_said_by_its_node() -> None:
    assert (
        "node rnn (gru_reset_before): an operation that is not said in ONNX"
        in streaming(weights_of()).ort_graph_left_out
    )


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([Value((2, GIVEN))], "number of the input's axes"),
        ([Value((GIVEN,), per=Per.ROW)], "per: expected step, got row"),
        ([STEP, Value((SIZE,), per=Per.ROW)], r"initial state's features: expected \[1, 5\], got \[5\]"),
        ([STEP, Value((1, SIZE))], "initial state: expected one per row or a constant, got one per step"),
    ],
)
def test_inputs_that_it_cannot_take_are_refused(inputs: list[Value], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        operation_of("gru_reset_before", {"hidden_size": SIZE}).infer(inputs)


class OverLetters(nn.Module):
    """Along an axis of features."""

    def __init__(self) -> None:
        super().__init__()
        self.letters, self.words = ResetBeforeGRU(GIVEN, SIZE, batch_first=True), nn.GRU(SIZE, 3, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, steps = x.shape[:2]
        last = self.letters(x.flatten(0, 1))[1][0]
        output: torch.Tensor = self.words(last.unflatten(0, (rows, steps)))[0]
        return output


def test_along_another_axis_than_time_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="a GRU with the reset gate before the product, other than along the axis of"):
        pack(OverLetters(), (torch.randn(2, 6, 3, GIVEN),), out=tmp_path / "m", name="m", quiet=True)
