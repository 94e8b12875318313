"""Graphs on disk: what is written is read back and runs; format 1 is a graph, too; states in a pool; drawings."""

from pathlib import Path

import numpy as np
import pytest
import torch
from graph_cases import graph_weights, make_network, pack_inputs, random_context, random_inputs, stacked
from graph_networks import STREAMED, WHOLE, ActorCritic, Cells, Decoder, Forecaster, Network
from recurrent_cases import CELLS, CPU, assert_near, make_model, make_spec, pack, random_input

from elman_models import (
    BundleError,
    GraphPool,
    GraphStack,
    GraphState,
    PackedInputs,
    WeightsError,
    draw,
    graph_of,
    load_graph,
    mermaid,
    read_any_spec,
    read_graph,
    read_spec,
    write_bundle,
)
from elman_models.fingerprint import fingerprint
from elman_models.spec_file import dump_spec, parse_any_spec

ALL = np.arange(6)


@pytest.mark.parametrize("kind", [*STREAMED, *WHOLE])
def test_a_bundle_of_format_2_computes_what_was_written(kind: type[Network], tmp_path: Path) -> None:
    network, stack = make_network(kind)
    folder = write_bundle(tmp_path / "b", network.spec, graph_weights(network.spec, network))
    loaded = load_graph(folder, CPU)
    assert loaded.spec == read_any_spec(folder) == read_graph(folder) == network.spec
    packed = pack_inputs(stack.spec, [random_inputs(stack.spec, 3)])
    state = stack.initial_state(1, stacked([random_context(stack.spec)]) if stack.spec.context else {})
    for name, output in loaded.step(packed, state)[0].items():
        assert torch.equal(output, stack.step(packed, state)[0][name])


def test_the_file_of_a_graph_is_read_by_people() -> None:
    lines = dump_spec(ActorCritic.spec).decode().splitlines()
    assert lines[:3] == ["format: 2", "name: m", "kind: streaming"]
    assert "  parameters: {hidden_size: 6, num_layers: 2}" in lines
    assert parse_any_spec("\n".join(lines).encode(), "m") == ActorCritic.spec


def test_weights_of_a_graph_are_held_against_it(tmp_path: Path) -> None:
    network = ActorCritic()
    weights = graph_weights(network.spec, network)
    for change, message in (
        ({"norm.weight": torch.full((6,), float("nan"))}, r"norm\.weight: expected finite"),
        ({"norm.weight": torch.ones(5)}, r"norm\.weight: expected shape \[6\], got \[5\]"),
        ({"other": torch.ones(5)}, r"not in the spec: other"),
        ({"norm.weight": torch.ones(6, dtype=torch.int64)}, r"norm\.weight: expected a dense float"),
    ):
        with pytest.raises(WeightsError, match=message):
            write_bundle(tmp_path / "b", network.spec, weights | change)
    del weights["norm.bias"]
    with pytest.raises(WeightsError, match=r"missing: norm\.bias \[6\]"):
        GraphStack(network.spec, weights, CPU)


def test_a_fingerprint_is_of_either_format(tmp_path: Path) -> None:
    network = ActorCritic()
    folder = write_bundle(tmp_path / "b", network.spec, graph_weights(network.spec, network))
    first = fingerprint(folder)
    text = (folder / "model.yaml").read_text()
    (folder / "model.yaml").write_text(text + "# a comment\n")
    assert fingerprint(folder) == first
    (folder / "model.yaml").write_text(text.replace("softmax", "log_softmax"))
    assert fingerprint(folder) != first
    with pytest.raises(BundleError, match="format: expected 1"):
        read_spec(folder)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("parts", [False, True], ids=["bare", "embedding_and_head"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_stack_is_the_graph_of_embedding_stack_and_head(cell: str, parts: bool, bidirectional: bool) -> None:
    spec = make_spec(cell, num_layers=2, parts=parts, bidirectional=bidirectional)
    reference, stack = make_model(spec)
    graph = GraphStack(graph_of(spec), reference.state_dict(), CPU)
    sequences = [random_input(spec, length) for length in (5, 3)]
    given, state = graph.step(PackedInputs.of(pack(sequences)), graph.initial_state(2))
    want, after = stack.step(pack(sequences), stack.initial_state(2))
    assert_near(given["output"], want)
    assert_near(state["h"], after.h)
    assert_near(state.get("c"), after.c)
    assert graph.spec.parameter_shapes() == spec.parameter_shapes()
    assert graph.weights_bytes == stack.weights_bytes


def filled(kind: type[Network]) -> tuple[GraphStack, GraphPool, GraphState]:
    _, stack = make_network(kind)
    pool = stack.pool(len(ALL))
    rows = [random_context(stack.spec) for _ in ALL]
    begin = stack.initial_state(len(ALL), stacked(rows) if stack.spec.context else {})
    tensors = [torch.randn_like(t) if t.is_floating_point() else t for t in begin.tensors]
    state = GraphState(begin.layout, tuple(tensors))
    pool.replace(ALL, state)
    return stack, pool, state


@pytest.mark.parametrize("kind", STREAMED)
def test_slots_outside_the_batch_are_untouched(kind: type[Network]) -> None:
    stack, pool, before = filled(kind)
    slots, others = np.array([4, 1]), np.array([0, 2, 3, 5])
    pool.reset(slots)
    for column, now, then in zip(stack.layout.columns, pool.read(others).tensors, before.tensors, strict=True):
        assert torch.equal(now, then.index_select(column.axis, torch.from_numpy(others)))
    begun = stack.initial_state(2, {c.name: before[c.name][slots] for c in stack.spec.context})
    assert all(torch.equal(pool.read(slots)[name], begun[name]) for name in begun)


def test_a_slot_is_reset_to_what_was_learned() -> None:
    stack, pool, _ = filled(Cells)
    pool.reset(np.array([2]))
    learned = stack.initial_state(1)["g"]
    assert learned.any()
    assert torch.equal(pool.read(np.array([2]))["g"], learned)


def test_context_stays_with_its_session_until_it_is_given_anew() -> None:
    stack, pool, before = filled(Decoder)
    slots = np.array([3, 0])
    packed = pack_inputs(stack.spec, [random_inputs(stack.spec, 2) for _ in slots])
    pool.replace(slots, stack.step(packed, pool.read(slots))[1])
    pool.reset(slots)
    assert torch.equal(pool.read(slots)["memory"], before["memory"][slots])
    pool.reset(slots, {"memory": torch.ones(2, 5, 3)})
    assert torch.equal(pool.read(slots)["memory"], torch.ones(2, 5, 3))


@pytest.mark.parametrize(
    ("context", "message"),
    [({}, "context: expected memory, got nothing"), ({"memory": torch.ones(1, 5, 3)}, "memory: expected shape")],
)
def test_a_wrong_context_is_refused_before_anything_is_written(context: dict[str, torch.Tensor], message: str) -> None:
    _, pool, before = filled(Decoder)
    with pytest.raises(ValueError, match=message):
        pool.reset(np.array([0, 1]), context)
    assert torch.equal(pool.read(ALL)["h"], before["h"])


def test_a_state_of_another_shape_is_refused_before_anything_is_written() -> None:
    _, pool, before = filled(Forecaster)
    short = GraphState(before.layout, (before["rnn.h"], before["rnn.c"][:, :2]))
    for bad in (short, GraphState(before.layout, (before["rnn.h"],))):
        with pytest.raises(ValueError, match="expected"):
            pool.replace(ALL, bad)
    assert torch.equal(pool.read(ALL)["rnn.h"], before["rnn.h"])


def test_states_and_inputs_by_name_are_all_there_or_refused() -> None:
    stack, _, before = filled(Forecaster)
    assert list(before) == ["rnn.h", "rnn.c", "item"]
    again = GraphState.named(stack.layout, dict(before))
    assert all(a is b for a, b in zip(again.tensors, before.tensors, strict=True))
    with pytest.raises(ValueError, match=r"state: expected rnn\.h, rnn\.c, item, got rnn\.h"):
        GraphState.named(stack.layout, {"rnn.h": before["rnn.h"]})
    with pytest.raises(ValueError, match="inputs: expected x, weekday, got x"):
        PackedInputs.named(["x", "weekday"], {"x": torch.ones(1, 2)}, np.array([1]))
    packed = pack_inputs(stack.spec, [random_inputs(stack.spec, 1) for _ in ALL])
    with pytest.raises(ValueError, match="there is no output 'loss', but mu, sigma"):
        stack.step(packed, before, outputs=("loss",))
    with pytest.raises(ValueError, match="expected 5 tensors of inputs, states and context, got 4"):
        stack.step(packed, GraphState(before.layout, before.tensors[:2]))  # without its context
    row = before.row(3)
    assert torch.equal(row["rnn.h"], before["rnn.h"][:, 3:4])
    assert torch.equal(row["item"], before["item"][3:4])


def test_slot_bytes_are_those_of_state_and_context() -> None:
    stack, pool, _ = filled(Forecaster)
    assert pool.slot_bytes == 4 * stack.spec.state_numel + 8


def test_plans_of_every_recurrence_are_measured_or_chosen() -> None:
    network, stack = make_network(ActorCritic)
    packed = pack_inputs(stack.spec, [random_inputs(stack.spec, 4)])
    want = stack.step(packed, stack.initial_state(1))[0]
    stack.warm_up(budget_seconds=0, overrides="fused")
    given = stack.step(packed, stack.initial_state(1))[0]
    assert stack.plan_names == {"rnn": "fused"}
    assert all(torch.allclose(given[name], want[name], atol=1e-5) for name in want)
    assert network.spec is stack.spec


@pytest.mark.parametrize("kind", [*STREAMED, *WHOLE])
def test_a_drawing_names_everything(kind: type[Network]) -> None:
    spec = kind.spec
    text, chart = draw(spec), mermaid(spec)
    for one in (*spec.inputs, *spec.context, *spec.states, *spec.nodes, *spec.outputs):
        assert one.name in text
        assert one.name in chart
    assert len(text.splitlines()) == sum(map(len, (spec.inputs, spec.context, spec.states, spec.nodes, spec.outputs)))
    assert chart.startswith("flowchart TD\n")
