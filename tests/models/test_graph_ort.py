"""Whole graphs by onnxruntime: forced on everything they give what the modules give; chosen by a table otherwise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from graph_cases import graph_weights, make_network, pack_inputs, random_context, random_inputs, stacked
from graph_networks import (
    STREAMED,
    ActorCritic,
    Decoder,
    Forecaster,
    KeywordSpotter,
    LearnedStart,
    Network,
    NoiseSuppression,
    TwoSizes,
    VoiceActivity,
    floats,
    graph,
    node,
    recurrence,
    states,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recurrent_cases import CPU, assert_near
from test_graph_chunking import check_random_rounds

from elman_models import GraphSpec, GraphStack, GraphState, PackedInputs, write_bundle
from elman_models.fingerprint import fingerprint
from elman_models.graph.whole import GraphWarmUp
from elman_models.plans.apart import Request, measure_apart
from elman_models.plans.cache import PlanCache
from elman_models.plans.prepare import Measuring
from elman_models.plans.table import ORT_GRAPH, PROGRAM, WHOLE_GRAPH, Entry, PlanTable, Shape
from elman_models.plans.warm_up import UNIFORM

pytest.importorskip("onnxruntime")
RUN_WHOLE = (ActorCritic, VoiceActivity, Forecaster, LearnedStart, NoiseSuppression, KeywordSpotter)
NOT_WHOLE = [kind for kind in STREAMED if kind not in RUN_WHOLE]


def forced(kind: type[Network]) -> tuple[Network, GraphStack]:
    network, stack = make_network(kind)
    stack.warm_up(budget_seconds=0.0, overrides=ORT_GRAPH)
    return network, stack


def batch(stack: GraphStack, lengths: list[int]) -> tuple[PackedInputs, GraphState]:
    contexts = stacked([random_context(stack.spec) for _ in lengths]) if stack.spec.context else {}
    state = stack.initial_state(len(lengths), contexts)
    some = [one + 0.3 if one.is_floating_point() else one for one in state.tensors]
    packed = pack_inputs(stack.spec, [random_inputs(stack.spec, n) for n in lengths])
    return packed, GraphState(state.layout, tuple(some))


def check_both(stack: GraphStack, lengths: list[int], **how: Any) -> str:
    """Steps as the stack's table has it and node after node; gives what the first ran by."""
    packed, state = batch(stack, lengths)
    got, after = stack.step(packed, state, **how)
    name = stack.plan_name
    want, wanted_after = stack.with_plans(stack.plans).step(packed, state, **how)
    assert list(got) == list(want)
    pairs = [*zip(got.values(), want.values(), strict=True), *zip(after.values(), wanted_after.values(), strict=True)]
    for one, other in pairs:
        assert one.dtype is other.dtype
        assert_near(one.float(), other.float())
    return name


@pytest.mark.parametrize("kind", RUN_WHOLE)
def test_chunks_by_onnxruntime_give_what_whole_sequences_give(kind: type[Network]) -> None:
    @settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(data=st.data())
    def over_random_rounds(data: st.DataObject) -> None:
        check_random_rounds(kind, data, plans=ORT_GRAPH)

    over_random_rounds()


@pytest.mark.parametrize("lengths", [[1], [5], [1, 1, 1], [4, 4, 4], [1] * 40])
@pytest.mark.parametrize("kind", RUN_WHOLE)
def test_equally_long_rows_run_whole_as_node_after_node(kind: type[Network], lengths: list[int]) -> None:
    torch.manual_seed(1)
    _, stack = forced(kind)
    assert check_both(stack, lengths) == ORT_GRAPH
    assert stack.plan_names == {WHOLE_GRAPH: ORT_GRAPH}
    names = tuple(output.name for output in stack.spec.outputs)
    assert check_both(stack, lengths, outputs=names) == ORT_GRAPH


@pytest.mark.parametrize("kind", RUN_WHOLE)
def test_what_is_not_all_outputs_of_all_steps_of_equally_long_rows_runs_node_after_node(kind: type[Network]) -> None:
    torch.manual_seed(2)
    _, stack = forced(kind)
    assert check_both(stack, [2, 2]) == ORT_GRAPH
    first = stack.spec.outputs[0].name
    assert check_both(stack, [3, 1]) != ORT_GRAPH
    assert check_both(stack, [3, 3], last_only=True) != ORT_GRAPH
    assert check_both(stack, [1, 1], last_only=True) == ORT_GRAPH
    assert check_both(stack, [2, 2], outputs=()) != ORT_GRAPH
    alone = check_both(stack, [2, 2], outputs=(first,))
    assert (alone == ORT_GRAPH) == (len(stack.spec.outputs) == 1)


def test_a_step_writes_to_nothing_that_it_was_given_and_gives_memory_of_its_own() -> None:
    _, stack = forced(VoiceActivity)
    packed, state = batch(stack, [2, 2])
    before = [tensor.clone() for tensor in (*packed.data, *state.values())]
    first = stack.step(packed, state)
    kept = [tensor.clone() for tensor in (*first[0].values(), *first[1].values())]
    stack.step(packed, first[1])
    assert stack.plan_name == ORT_GRAPH
    assert all(torch.equal(a, b) for a, b in zip(before, (*packed.data, *state.values()), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(kept, (*first[0].values(), *first[1].values()), strict=True))


@pytest.mark.parametrize(
    ("kernel", "dilation", "groups"), [(1, 1, 1), (2, 1, 1), (3, 1, 1), (3, 3, 1), (2, 1, 2), (3, 3, 2)]
)
def test_a_causal_convolution_runs_whole(kernel: int, dilation: int, groups: int) -> None:
    torch.manual_seed(3)
    sizes = {"out_channels": 6, "kernel_size": kernel, "dilation": dilation, "groups": groups}
    lookback = (kernel - 1) * dilation
    conv = node("causal_conv1d", "conv", "x", weights="weight bias", **sizes)
    cache = {"states": {"cache": "cache"}} if lookback else {}
    own = [{"name": "cache", "features": [4, lookback]}] if lookback else []
    spec = graph([conv | cache], {"y": "conv"}, inputs=[floats("x", 4)], states=own)
    stack = small(spec)
    stack.warm_up(budget_seconds=0.0, overrides=ORT_GRAPH)
    for lengths in ([1], [1, 1], [7, 7], [2] * 5):
        assert check_both(stack, lengths) == ORT_GRAPH


@pytest.mark.parametrize("op", ["rnn_tanh", "rnn_relu", "gru", "lstm"])
@pytest.mark.parametrize(("layers", "bias"), [(1, True), (3, True), (2, False)])
def test_a_recurrence_of_every_cell_runs_whole(op: str, layers: int, bias: bool) -> None:
    torch.manual_seed(4)
    one = recurrence(op, "rnn", "x", 5, layers, bias=bias)
    if not bias:
        one["weights"] = {name: tensor for name, tensor in one["weights"].items() if "bias" not in name}
    spec = graph([one], {"y": "rnn"}, inputs=[floats("x", 4)], states=states(op, "rnn", 5, layers))
    stack = small(spec)
    stack.warm_up(budget_seconds=0.0, overrides=ORT_GRAPH)
    for lengths in ([1], [1, 1], [6, 6]):
        assert check_both(stack, lengths) == ORT_GRAPH


def test_an_input_may_be_an_output_and_one_value_two() -> None:
    nodes = [node("relu", "y", "x")]
    stack = small(graph(nodes, {"x": "x", "one": "y", "two": "y"}, inputs=[floats("x", 4)]))
    stack.warm_up(budget_seconds=0.0, overrides=ORT_GRAPH)
    assert check_both(stack, [1, 1]) == ORT_GRAPH
    assert stack.plans.names == ["graph", ORT_GRAPH]


def test_constants_are_computed_once_and_given() -> None:
    nodes = [
        node("constant", "given", weights="value", features=[2, 4]),
        node("softmax", "weights", "given"),
        node("matmul", "y", "weights", "x"),
    ]
    stack = small(graph(nodes, {"y": "y"}, inputs=[floats("x", 4)]))
    stack.warm_up(budget_seconds=0.0, overrides=ORT_GRAPH)
    assert check_both(stack, [2, 2]) == ORT_GRAPH


def small(spec: GraphSpec) -> GraphStack:
    return GraphStack(spec, {name: torch.rand(shape) - 0.5 for name, shape in spec.parameter_shapes().items()}, CPU)


@pytest.mark.parametrize("kind", NOT_WHOLE)
def test_a_graph_that_cannot_run_whole_says_why_and_is_not_forced(kind: type[Network]) -> None:
    _, stack = make_network(kind)
    expected = "node two (lstm): a projection" if kind is TwoSizes else "a graph of kind step"
    assert stack.ort_graph_left_out.startswith(expected)
    for overrides in (ORT_GRAPH, {"1x1": ORT_GRAPH}):
        with pytest.raises(ValueError, match=r"there is no plan 'ort-graph' of model m: (node two|a graph of kind)"):
            stack.warm_up(budget_seconds=0.0, overrides=overrides)
    stack.warm_up(budget_seconds=0.05)
    assert WHOLE_GRAPH not in stack.plans


@pytest.mark.parametrize("missing", ["onnxruntime", "onnx"])
def test_without_onnxruntime_nothing_changes(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elman_models.plans.candidates.find_spec", lambda name: None if name == missing else object())
    _, stack = make_network(ActorCritic)
    assert stack.ort_graph_left_out == "onnxruntime and onnx are not both installed"
    stack.warm_up(budget_seconds=0.1)
    assert list(stack.plans) == ["rnn"]
    assert check_both(stack, [1]) in stack.plans.names


def test_the_table_is_filled_by_measuring_both(caplog: pytest.LogCaptureFixture) -> None:
    _, stack = make_network(ActorCritic)
    assert stack.ort_graph_left_out == ""
    told: list[str] = []
    stack.warm_up(lambda done, total, shape: told.append(shape), budget_seconds=3.0)
    table = stack.plans[WHOLE_GRAPH]
    uniform = {shape: entry for shape, entry in table.entries.items() if not shape.is_ragged}
    assert len(uniform) > 3
    assert set(uniform) <= set(UNIFORM)
    assert {name for entry in uniform.values() for name in entry.seconds} == {PROGRAM, ORT_GRAPH}
    assert set(table.names) <= {PROGRAM, ORT_GRAPH}
    assert table.choose(Shape(8, 8, is_ragged=True).batch_sizes).name == PROGRAM
    assert not caplog.records
    assert check_both(stack, [1]) in stack.plans.names
    assert f"{WHOLE_GRAPH}:\n" in stack.plans.describe()


def test_the_table_decides_shape_by_shape() -> None:
    _, stack = make_network(ActorCritic)
    stack.warm_up(budget_seconds=0.0, overrides={"1x1": ORT_GRAPH, "64x1": PROGRAM})
    assert check_both(stack, [1]) == ORT_GRAPH
    assert check_both(stack, [1] * 64) == "native"
    assert stack.plans.names == ["native", ORT_GRAPH]


def test_a_recurrences_plan_chosen_by_hand_is_not_passed_over() -> None:
    _, stack = make_network(ActorCritic)
    stack.warm_up(budget_seconds=0.0, overrides={"1x1": ORT_GRAPH, "64x1": "fused"})
    assert check_both(stack, [1] * 64) == "fused"
    assert check_both(stack, [1]) == ORT_GRAPH
    stack.warm_up(budget_seconds=0.0, overrides="fused")
    assert list(stack.plans) == ["rnn"]
    assert check_both(stack, [1]) == "fused"
    stack.warm_up(budget_seconds=0.0, overrides=PROGRAM)
    assert list(stack.plans) == ["rnn"]


def test_the_whole_graph_is_not_asked_for_on_ragged_rows() -> None:
    _, stack = make_network(ActorCritic)
    with pytest.raises(ValueError, match=r"no plan 'ort-graph' for ragged batches of .*; there are program"):
        stack.warm_up(budget_seconds=0.0, overrides={"4x4 ragged": ORT_GRAPH})


def test_tables_without_one_of_the_whole_graph_have_nodes_run_by_themselves() -> None:
    _, stack = forced(ActorCritic)
    stack.take({"rnn": stack.plans["rnn"]})
    assert check_both(stack, [1]) == "native"


def nothing_told(*_: object) -> None:
    pytest.fail("nothing is to be measured")


def test_the_table_is_kept_for_the_graph_and_its_recurrences_plans(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    _, stack = make_network(ActorCritic)
    stack.warm_up(cache=cache, budget_seconds=0.3)
    assert len(list(tmp_path.iterdir())) == 2
    _, again = make_network(ActorCritic)
    again.warm_up(nothing_told, cache=cache, budget_seconds=0.3)
    assert again.plans[WHOLE_GRAPH].entries == stack.plans[WHOLE_GRAPH].entries
    _, other = make_network(NoiseSuppression)
    told: list[str] = []
    other.warm_up(lambda done, total, shape: told.append(shape), cache=cache, budget_seconds=0.3)
    assert told


def warm_up_of(stack: GraphStack) -> GraphWarmUp:
    seen: list[GraphWarmUp] = []

    def measure(warm_up: Any) -> dict[Shape, Entry]:
        if isinstance(warm_up, GraphWarmUp):
            seen.append(warm_up)
        return {Shape(1, 1): Entry(warm_up.factory.default), Shape(1, 1, True): Entry(warm_up.factory.default)}

    stack.measured(Measuring(measure=measure), budget_seconds=2.0)
    return seen[0]


def test_the_key_names_the_graph_but_not_what_it_is_called() -> None:
    spec = ActorCritic.spec
    key = warm_up_of(small(spec)).key()
    renamed = spec.model_copy(update={"name": "n", "version": "2", "description": "d"})
    assert warm_up_of(small(renamed)).key() == key
    norm = spec.nodes[1].model_copy(update={"parameters": {"normalized_shape": (6,), "eps": 0.1}})
    changed = spec.model_copy(update={"nodes": (spec.nodes[0], norm, *spec.nodes[2:])})
    assert warm_up_of(small(changed)).key() != key


def test_the_budget_and_the_progress_are_shared_with_the_recurrences() -> None:
    budgets: dict[str, float] = {}
    told: list[tuple[int, int]] = []

    def measure(warm_up: Any) -> dict[Shape, Entry]:
        budgets[warm_up.spec.name] = warm_up.budget_seconds
        warm_up.progress(1, 10, "a shape")
        return {Shape(1, 1): Entry(warm_up.factory.default), Shape(1, 1, True): Entry(warm_up.factory.default)}

    _, stack = make_network(NoiseSuppression)
    how = Measuring(progress=lambda done, of, _: told.append((done, of)), measure=measure)
    stack.measured(how, budget_seconds=7.0)
    assert budgets == {"m.vad": 2.0, "m.noise": 2.0, "m.denoise": 2.0, f"m.{WHOLE_GRAPH}": 1.0}
    assert told == [(1, 40), (11, 40), (21, 40), (31, 40)]


@pytest.mark.parametrize("noisy", [0, 1])
def test_a_table_that_was_measured_beside_other_work_is_provisional_and_not_kept(noisy: int, tmp_path: Path) -> None:
    quiet = [index != noisy for index in range(2)]  # the recurrence's, then the whole graph's
    _, stack = make_network(ActorCritic)
    how = Measuring(cache=PlanCache(tmp_path), is_quiet=lambda: quiet.pop(0))
    plans = stack.measured(how, budget_seconds=0.05)
    assert plans.is_provisional
    assert plans[WHOLE_GRAPH].is_provisional
    assert len(list(tmp_path.iterdir())) == noisy


class Wrong:
    """All nodes together, a little off; or not at all."""

    name = ORT_GRAPH

    def __init__(self, stack: GraphStack, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._stack, self._change = stack, change

    def run(self, inputs: PackedInputs, state: GraphState) -> Any:
        outputs, after = self._stack.step(inputs, state)
        return {name: self._change(one) for name, one in outputs.items()}, after


def broken(_: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("no such kernel")


@pytest.mark.parametrize(("change", "said"), [(lambda y: y + 1e-3, "it is 0.001"), (broken, "no such kernel")])
def test_a_plan_that_is_wrong_or_fails_on_this_machine_is_left_out_and_told(
    change: Callable[[torch.Tensor], torch.Tensor],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, stack = make_network(LearnedStart)
    twin = stack.with_plans(stack.plans)
    monkeypatch.setattr("elman_models.graph.whole._build", lambda spec, graph: Wrong(twin, change))
    stack.warm_up(budget_seconds=0.1)
    assert stack.plans[WHOLE_GRAPH].names == [PROGRAM]
    assert said in caplog.text
    assert "plan ort-graph of model m" in caplog.text


def test_one_table_can_be_measured_alone() -> None:
    _, stack = make_network(ActorCritic)
    whole = stack.measured_at(WHOLE_GRAPH, Measuring(), budget_seconds=0.1, overrides=ORT_GRAPH)
    assert whole.names == [ORT_GRAPH, PROGRAM]
    rnn: PlanTable = stack.measured_at("rnn", Measuring(), budget_seconds=0.1, overrides=ORT_GRAPH)
    assert "native" in rnn.entries[Shape(1, 1)].seconds
    with pytest.raises(KeyError):
        small(Decoder.spec).measured_at(WHOLE_GRAPH, Measuring(), budget_seconds=0.0)


def test_a_twin_runs_by_the_plans_that_it_is_given_and_the_graph_by_its_own() -> None:
    _, stack = make_network(ActorCritic)
    twin = stack.with_plans(stack.measured(Measuring(), budget_seconds=0.0, overrides="fused"))
    packed, state = batch(stack, [2, 2])
    for one, name in ((twin, "fused"), (stack, "native")):
        one.step(packed, state)
        assert one.plan_name == name


@pytest.mark.parametrize("node", ["rnn", WHOLE_GRAPH])
def test_each_table_can_be_measured_in_a_process_of_its_own(node: str, tmp_path: Path) -> None:
    network, stack = make_network(ActorCritic)
    write_bundle(tmp_path / "m", stack.spec, graph_weights(stack.spec, network))
    request = Request(
        bundle=tmp_path / "m",
        fingerprint=fingerprint(tmp_path / "m"),
        threads=1,
        budget_seconds=0.1,
        node=node,
        only=ORT_GRAPH,
    )
    entries = measure_apart(request)
    assert (ORT_GRAPH in entries[Shape(1, 1)].seconds) == (node == WHOLE_GRAPH)
