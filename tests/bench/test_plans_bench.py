"""`python -m bench.plans`, but for its times: what it measures, and where that is kept."""

import argparse
from datetime import datetime

import pytest
from bench.kept import kept_path
from bench.plans import CPU, make_stack, plans_of, report

from elman_models import Cell
from elman_models.plans.candidates import candidates
from elman_models.plans.factory import SEGMENTS, PlanFactory
from elman_models.plans.table import Shape


@pytest.mark.parametrize("shape", [Shape(8, 4), Shape(8, 4, True)])
@pytest.mark.parametrize("chosen", ["native", "fused"])
def test_the_chosen_plan_is_measured_itself_and_the_others_beside_it(shape: Shape, chosen: str) -> None:
    stack = make_stack(Cell.GRU, 8, "float32")
    stack.warm_up(overrides=chosen)
    factory = PlanFactory(stack.spec, candidates(stack.spec, stack.rnn))
    plans = plans_of(stack, factory, shape)
    assert list(plans) == factory.names(is_ragged=shape.is_ragged)
    assert plans[chosen] is stack.plans.plans[chosen]
    assert plans[stack.plans.choose(shape.batch_sizes).name] is stack.plans.choose(shape.batch_sizes)
    assert (SEGMENTS in plans) == shape.is_ragged
    assert all(plan.name == name for name, plan in plans.items())


def test_each_precision_is_kept_in_a_file_of_its_own() -> None:
    float32, int8 = (kept_path("plans", CPU, precision) for precision in ("float32", "int8"))
    assert float32.name.startswith("plans-")
    assert int8.name == f"{float32.stem}-int8.json"


def test_what_is_kept_is_dated() -> None:
    about = report([], argparse.Namespace(precision="int8"))["about"]
    assert isinstance(about, dict)
    assert about["precision"] == "int8"
    assert datetime.fromisoformat(about["date"]).utcoffset() is not None
