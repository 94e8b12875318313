"""The graph plan's logic, with a capture that only keeps the work: captured, replayed, refused, forgotten."""

from collections.abc import Callable

import pytest
import torch
from plan_cases import CountingPlan
from recurrent_cases import pack

from elman_models import Packed, State
from elman_models.plans.graph import GraphPlan, Result


class FakeCapture:
    """Replays by running the work again into the tensors of the first run, as a graph's memory is written again."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.num_captures = 0
        self.num_replays = 0
        self._refuses = refuses

    def __call__(self, work: Callable[[], Result]) -> tuple[Callable[[], None], Result]:
        self.num_captures += 1
        if self._refuses:
            raise RuntimeError("operation not permitted when stream is capturing")
        result = work()

        def replay() -> None:
            self.num_replays += 1
            output, state = work()
            result[0].copy_(output)
            result[1].h.copy_(state.h)
            if result[1].c is not None and state.c is not None:
                result[1].c.copy_(state.c)

        return replay, result


def run(plan: GraphPlan, rows: int, steps: int, value: float = 0.0) -> Result:
    data = torch.full((rows * steps, 2), value)
    packed = Packed(data, torch.full((steps,), rows).numpy())
    return plan.run(packed, State(torch.full((1, rows, 3), value), torch.full((1, rows, 3), value)))


def test_a_shape_that_comes_again_is_captured_once_and_then_replayed() -> None:
    inner, capture = CountingPlan(), FakeCapture()
    plan = GraphPlan("graph", inner, capture)
    for value in range(4):
        output, state = run(plan, 2, 3, float(value))
        assert output.unique().tolist() == [value + 1]
        assert state.h.unique().tolist() == [value + 3]
        assert state.c is not None
        assert state.c.unique().tolist() == [value + 3]
    assert (capture.num_captures, capture.num_replays) == (1, 3)


def test_an_answer_is_not_changed_by_the_next_replay() -> None:
    plan = GraphPlan("graph", CountingPlan(), FakeCapture())
    run(plan, 1, 1)
    first, first_state = run(plan, 1, 1, 5.0)
    run(plan, 1, 1, 7.0)
    assert first.unique().tolist() == [6]
    assert first_state.h.unique().tolist() == [6]


def test_a_shape_that_cannot_be_captured_is_tried_once_and_runs_by_the_module() -> None:
    inner, capture = CountingPlan(), FakeCapture(refuses=True)
    plan = GraphPlan("graph", inner, capture)
    for value in range(5):
        assert run(plan, 2, 1, float(value))[0].unique().tolist() == [value + 1]
    assert (capture.num_captures, capture.num_replays) == (1, 0)
    assert len(inner.shapes) == 5


@pytest.mark.parametrize(("rows", "steps"), [(33, 1), (1, 33)])
def test_large_shapes_are_not_captured(rows: int, steps: int) -> None:
    capture = FakeCapture()
    plan = GraphPlan("graph", CountingPlan(), capture, max_row_steps=32)
    for _ in range(4):
        run(plan, rows, steps)
    assert capture.num_captures == 0


def test_ragged_batches_are_not_captured() -> None:
    inner, capture = CountingPlan(), FakeCapture()
    plan = GraphPlan("graph", inner, capture)
    for _ in range(4):
        plan.run(pack([torch.zeros(3, 2), torch.zeros(1, 2)]), State(torch.zeros(1, 2, 3), None))
    assert capture.num_captures == 0
    assert inner.shapes == [(2, 3, True)] * 4


def test_the_graph_used_least_lately_makes_room_and_is_captured_again_when_it_comes_back() -> None:
    capture = FakeCapture()
    plan = GraphPlan("graph", CountingPlan(), capture, max_graphs=2)
    for rows in (1, 2, 1, 3, 1):  # 1 is used last, so 3 pushes 2 out
        for _ in range(2):
            run(plan, rows, 1)
    assert capture.num_captures == 3
    run(plan, 1, 1)
    assert capture.num_captures == 3
    for _ in range(2):
        run(plan, 2, 1)
    assert capture.num_captures == 4
