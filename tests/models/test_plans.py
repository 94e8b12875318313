"""Every plan that fits a model gives what plain `torch.nn` gives, alone or in a batch, whole or in segments."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_cases import (
    CountingPlan,
    alone,
    by_row,
    make_factory,
    make_tame_model,
    plans_that_run,
    random_rows,
    segments_of,
)
from recurrent_cases import CELLS, assert_near, make_model, make_spec, pack

from elman_models import Packed, State

SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=40)
VARIANTS: list[dict[str, Any]] = [
    {"num_layers": 1},
    {"num_layers": 3},
    {"num_layers": 2, "bias": False},
    {"num_layers": 2, "input_size": 17, "hidden_size": 40},
    {"num_layers": 2, "bidirectional": True},
]


def check(cell: str, variant: dict[str, Any], lengths: list[int]) -> None:
    spec = make_spec(cell, **variant)
    reference, stack = make_tame_model(spec)
    rows, before = random_rows(spec, lengths)
    outputs, after = alone(reference, rows, before)
    for plan in plans_that_run(make_factory(stack), is_ragged=len(set(lengths)) > 1):
        if spec.bidirectional and plan.name.startswith("segments"):
            continue
        with torch.inference_mode():
            got, state = plan.run(pack(rows), before)
        for mine, want in zip(by_row(got, rows), outputs, strict=True):
            assert_near(mine, want)
        assert_near(state.h, after.h)
        assert_near(state.c, after.c)
        assert state.h.dtype is torch.float32


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: ",".join(f"{k}={x}" for k, x in v.items()))
@pytest.mark.parametrize("cell", CELLS)
@settings(deadline=None, max_examples=5)
@given(lengths=SHAPES)
def test_every_plan_gives_ragged_rows_what_torch_gives_them_alone(
    cell: str, variant: dict[str, Any], lengths: list[int]
) -> None:
    torch.manual_seed(5)
    check(cell, variant, sorted(lengths, reverse=True))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: ",".join(f"{k}={x}" for k, x in v.items()))
@pytest.mark.parametrize("cell", CELLS)
@settings(deadline=None, max_examples=5)
@given(rows=st.integers(1, 40), steps=st.integers(1, 9))
def test_every_plan_gives_equally_long_rows_what_torch_gives_them_alone(
    cell: str, variant: dict[str, Any], rows: int, steps: int
) -> None:
    torch.manual_seed(6)
    check(cell, variant, [steps] * rows)


@pytest.mark.parametrize("cell", CELLS)
def test_no_plan_writes_to_its_input_or_to_the_state_it_was_given(cell: str) -> None:
    spec = make_spec(cell, num_layers=2)
    _, stack = make_model(spec)
    for lengths in ([3, 3], [3, 1]):
        rows, before = random_rows(spec, lengths)
        packed, h = pack(rows), before.h.clone()
        c = None if before.c is None else before.c.clone()
        for plan in plans_that_run(make_factory(stack), is_ragged=lengths[0] != lengths[1]):
            output, after = plan.run(packed, before)
            output.add_(1)  # nor does anybody who writes to the answer reach a plan's memory
            after.h.add_(1)
            assert torch.equal(packed.data, pack(rows).data)
            assert torch.equal(before.h, h)
            assert c is None or (before.c is not None and torch.equal(before.c, c))


@pytest.mark.parametrize("cell", CELLS)
def test_every_plan_stays_near_torch_over_a_thousand_steps(cell: str) -> None:
    torch.manual_seed(7)
    spec = make_spec(cell, num_layers=2, hidden_size=24)
    reference, stack = make_tame_model(spec)
    rows, before = random_rows(spec, [1000] * 2)
    outputs, after = alone(reference, rows, before)
    for plan in plans_that_run(make_factory(stack), is_ragged=False):
        got, state = plan.run(pack(rows), before)
        for mine, want in zip(by_row(got, rows), outputs, strict=True):
            assert_near(mine, want)
        assert_near(state.h, after.h)


def test_segments_run_only_rows_that_have_the_step() -> None:
    plan = CountingPlan()
    data = torch.zeros(6 + 2 * 4 + 1, 2)
    packed = Packed(data, torch.tensor([6, 4, 4, 1]).numpy())
    output, state = segments_of(plan).run(packed, State(torch.zeros(1, 6, 3), torch.zeros(1, 6, 3)))
    assert plan.shapes == [(6, 1, False), (4, 2, False), (1, 1, False)]
    assert state.h[0, :, 0].tolist() == [4, 3, 3, 3, 1, 1]
    assert state.c is not None
    assert state.c[0, :, 0].tolist() == [4, 3, 3, 3, 1, 1]
    assert torch.equal(output, data + 1)
