"""The plans of a graph's recurrences: measured together, kept, taken, and said by one name."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from graph_cases import make_network, pack_inputs, random_inputs
from graph_networks import ActorCritic, Autoencoder, MinGru, Network, NoiseSuppression, TwoSizes
from plan_cases import CountingPlan
from recurrent_cases import CPU, assert_near

from elman_models import GraphStack
from elman_models.plans.cache import PlanCache
from elman_models.plans.prepare import Measuring
from elman_models.plans.table import Entry, PlanTable, PlanTables, Shape
from elman_models.plans.warm_up import RAGGED, UNIFORM, WarmUp
from elman_models.spec import Precision

BOTH = (Shape(1, 1), Shape(1, 1, True))


def measure(warm_up: WarmUp) -> Mapping[Shape, Entry]:
    """Stands for measuring: two shapes of all, by the first plan."""
    num = len(UNIFORM) + len(RAGGED)
    for done in range(2):
        if warm_up.progress:
            warm_up.progress(done, num, "a shape")
    return {shape: Entry(warm_up.factory.default) for shape in BOTH}


def step(stack: GraphStack, length: int = 4, outputs: tuple[str, ...] | None = None) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    packed = pack_inputs(stack.spec, [random_inputs(stack.spec, length), random_inputs(stack.spec, length)])
    return stack.step(packed, stack.initial_state(2), outputs=outputs)[0]


def one_plan(name: str, *, is_provisional: bool = False) -> PlanTable:
    return PlanTable({name: CountingPlan(name)}, {shape: Entry(name) for shape in BOTH}, is_provisional=is_provisional)


def test_recurrences_share_the_budget_and_one_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elman_models.graph.whole.has_ort", lambda: False)  # with it: test_graph_ort
    stack, told, budgets = make_network(NoiseSuppression)[1], [], []

    def share(warm_up: WarmUp) -> Mapping[Shape, Entry]:
        budgets.append(warm_up.budget_seconds)
        return measure(warm_up)

    how = Measuring(progress=lambda done, of, _: told.append((done, of)), measure=share)
    plans = stack.measured(how, budget_seconds=6)
    num = len(UNIFORM) + len(RAGGED)
    assert list(plans) == ["vad", "noise", "denoise"]
    assert budgets == [2, 2, 2]
    assert told == [(done, 3 * num) for done in (0, 1, num, num + 1, 2 * num, 2 * num + 1)]


@pytest.mark.parametrize("kind", [ActorCritic, TwoSizes, MinGru])
def test_what_is_measured_is_taken_and_gives_the_same(kind: type[Network]) -> None:
    stack = make_network(kind)[1]
    before = step(stack)
    stack.warm_up(budget_seconds=0.05)
    for name, output in step(stack).items():
        assert_near(output, before[name])


def test_a_table_that_is_kept_is_measured_by_nobody_again(tmp_path: Path) -> None:
    stack, cache = make_network(TwoSizes)[1], PlanCache(tmp_path)
    stack.take(stack.measured(Measuring(cache=cache, measure=measure), budget_seconds=1))
    again = make_network(TwoSizes)[1]
    again.warm_up(lambda *_: pytest.fail("nothing is to be measured"), cache=cache)
    assert [table.entries for table in again.plans.values()] == [table.entries for table in stack.plans.values()]


def test_one_table_that_was_measured_beside_traffic_makes_all_provisional() -> None:
    tables = PlanTables({"one": one_plan("a"), "two": one_plan("a", is_provisional=True)})
    assert tables.is_provisional
    assert not PlanTables({"one": one_plan("a")}).is_provisional
    assert not PlanTables().is_provisional


def test_a_plan_that_no_recurrence_has_is_refused_and_the_node_named() -> None:
    with pytest.raises(ValueError, match=r"m\.rnn.*nothing|nothing.*m\.rnn"):
        make_network(ActorCritic)[1].warm_up(overrides="nothing")


@pytest.mark.parametrize(
    ("kind", "tables", "name", "names"),
    [
        (TwoSizes, {"one": "a", "two": "a"}, "a", ["a", "mixed"]),
        (TwoSizes, {"one": "a", "two": "b"}, "mixed", ["a", "b", "mixed"]),
        (ActorCritic, {"rnn": "a"}, "a", ["a"]),
        (MinGru, {}, "graph", ["graph"]),
    ],
)
def test_a_step_is_said_to_run_by_one_plan_by_several_or_by_none(
    kind: type[Network], tables: dict[str, str], name: str, names: list[str]
) -> None:
    stack = make_network(kind)[1]
    renamed = {}
    for node, table in stack.plans.items():
        plan = table.plans["native"]
        plan.name = tables[node]
        renamed[node] = PlanTable({plan.name: plan}, {shape: Entry(plan.name) for shape in BOTH})
    stack.take(renamed)
    step(stack)
    assert stack.plan_name == name
    assert stack.plans.names == names


def test_a_recurrence_that_a_step_did_not_need_has_no_part_in_its_plans_name() -> None:
    stack = make_network(Autoencoder)[1]
    step(stack)
    assert stack.plan_names == {"encoder": "native", "decoder": "native"}
    step(stack, outputs=("code",))
    assert stack.plan_names == {"encoder": "native", "decoder": ""}
    assert stack.plan_name == "native"


def test_a_precision_for_which_there_is_no_recurrence_is_said(caplog: pytest.LogCaptureFixture) -> None:
    network = make_network(MinGru)[0]
    spec = MinGru.spec.model_copy(update={"precision": Precision.BFLOAT16})
    GraphStack(spec, dict(network.state_dict()), CPU).warm_up(budget_seconds=0)
    assert "model m: precision bfloat16 is not used: it is of recurrences" in caplog.text
