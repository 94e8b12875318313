"""Any split into chunks, batched with any neighbours, gives what the module gives on whole sequences."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from graph_cases import length_of, make_network, pack_inputs, random_context, random_inputs, stacked
from graph_networks import STREAMED, WHOLE, ActorCritic, MinGru, Network, Tensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recurrent_cases import assert_near, unpack
from test_chunking_is_invisible import draw_round
from torch.overrides import TorchFunctionMode

from elman_models import GraphPool, GraphStack


def run_in_rounds(
    stack: GraphStack, pool: GraphPool, slots: list[int], sequences: list[Tensors], data: st.DataObject
) -> list[Tensors]:
    done = [0] * len(sequences)
    outputs: list[dict[str, list[torch.Tensor]]] = [{} for _ in sequences]
    while left := {s: length_of(x) - done[s] for s, x in enumerate(sequences) if done[s] < length_of(x)}:
        takes = draw_round(data, left)
        index = np.array([slots[s] for s in takes])
        chunks = [{k: v[done[s] : done[s] + n] for k, v in sequences[s].items()} for s, n in takes.items()]
        given, state = stack.step(pack_inputs(stack.spec, chunks), pool.read(index))
        pool.replace(index, state)
        for name, output in given.items():
            for (s, _), row in zip(takes.items(), unpack(output, list(takes.values())), strict=True):
                outputs[s].setdefault(name, []).append(row)
        for s, n in takes.items():
            done[s] += n
    return [{name: torch.cat(parts) for name, parts in rows.items()} for rows in outputs]


def check_random_rounds(kind: type[Network], data: st.DataObject, plans: str = "") -> None:
    """`plans`: the plan that is to run whatever it can; empty: as an unmeasured graph runs."""
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    network, stack = make_network(kind)
    if plans:
        stack.warm_up(budget_seconds=0.0, overrides=plans)
    lengths = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=5))
    sequences = [random_inputs(stack.spec, length) for length in lengths]
    contexts = [random_context(stack.spec) for _ in sequences]
    slots = data.draw(st.permutations(range(7)))[: len(sequences)]
    pool = stack.pool(7)
    pool.reset(np.array(slots), stacked(contexts))
    outputs = run_in_rounds(stack, pool, slots, sequences, data)
    for sequence, context, output in zip(sequences, contexts, outputs, strict=True):
        want = network(sequence, context)
        assert output.keys() == want.keys()
        for name in want:
            assert_near(output[name], want[name])


@pytest.mark.parametrize("kind", STREAMED)
def test_chunks_of_any_sessions_give_what_whole_sequences_give(kind: type[Network]) -> None:
    @settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(data=st.data())
    def over_random_rounds(data: st.DataObject) -> None:
        check_random_rounds(kind, data)

    over_random_rounds()


@pytest.mark.parametrize("kind", STREAMED)
def test_a_row_ends_with_the_state_that_it_has_alone(kind: type[Network]) -> None:
    torch.manual_seed(2)
    _, stack = make_network(kind)
    rows = [random_inputs(stack.spec, length) for length in (5, 4, 2, 2, 1)]
    contexts = [random_context(stack.spec) for _ in rows]
    begin = stack.initial_state(5, stacked(contexts) if stack.spec.context else {})
    together = stack.step(pack_inputs(stack.spec, rows), begin)[1]
    for index, row in enumerate(rows):
        alone = stack.step(pack_inputs(stack.spec, [row]), begin.row(index))[1]
        for name, tensor in together.row(index).items():
            assert_near(tensor.float(), alone[name].float())


@pytest.mark.parametrize("lengths", [[4], [3, 3, 3], [6, 4, 4, 1], [5, 4, 2, 2, 1]])
@pytest.mark.parametrize("kind", WHOLE)
def test_whole_graphs_run_rows_of_equal_length_together(kind: type[Network], lengths: list[int]) -> None:
    torch.manual_seed(3)
    network, stack = make_network(kind)
    rows = [random_inputs(stack.spec, length) for length in lengths]
    given, _ = stack.step(pack_inputs(stack.spec, rows), stack.initial_state(len(rows)))
    wanted = [network(row, {}) for row in rows]
    for name, output in given.items():
        per_step = wanted[0][name].ndim and len(output) == sum(lengths)
        parts = unpack(output, lengths) if per_step else list(output)
        for part, want in zip(parts, wanted, strict=True):
            assert_near(part, want[name])


@pytest.mark.parametrize("lengths", [[4], [3, 3], [5, 4, 4, 1], [1, 1]])
@pytest.mark.parametrize("kind", [*STREAMED, *WHOLE])
def test_last_steps_alone_are_those_of_all_steps(kind: type[Network], lengths: list[int]) -> None:
    torch.manual_seed(4)
    _, stack = make_network(kind)
    packed = pack_inputs(stack.spec, [random_inputs(stack.spec, length) for length in lengths])
    context = stacked([random_context(stack.spec) for _ in lengths]) if stack.spec.context else {}
    state = stack.initial_state(len(lengths), context)
    every, after = stack.step(packed, state)
    last, after_last = stack.step(packed, state, last_only=True)
    for name, output in every.items():
        rows = unpack(output, lengths) if len(output) == sum(lengths) else None
        want = torch.stack([row[-1] for row in rows]) if rows and max(lengths) > 1 else output
        assert_near(last[name], want)
    for name in after:
        assert_near(after_last[name], after[name])


@pytest.mark.parametrize("kind", STREAMED)
def test_each_output_alone_is_what_it_is_among_all(kind: type[Network]) -> None:
    torch.manual_seed(5)
    _, stack = make_network(kind)
    lengths = [3, 2]
    packed = pack_inputs(stack.spec, [random_inputs(stack.spec, length) for length in lengths])
    state = stack.initial_state(2, stacked([random_context(stack.spec) for _ in lengths]) if stack.spec.context else {})
    every, after = stack.step(packed, state)
    for name in every:
        alone, after_alone = stack.step(packed, state, outputs=(name,))
        assert list(alone) == [name]
        assert_near(alone[name], every[name])
        for carried in after:
            assert_near(after_alone[carried], after[carried])
    nothing, after_nothing = stack.step(packed, state, outputs=())
    assert nothing == {}
    assert all(torch.equal(after_nothing[name], after[name]) for name in after)


@pytest.mark.parametrize("kind", STREAMED)
def test_a_step_writes_to_nothing_that_it_was_given(kind: type[Network]) -> None:
    torch.manual_seed(6)
    _, stack = make_network(kind)
    packed = pack_inputs(stack.spec, [random_inputs(stack.spec, 3) for _ in range(2)])
    state = stack.initial_state(
        2, stacked([random_context(stack.spec) for _ in range(2)]) if stack.spec.context else {}
    )
    before = [tensor.clone() for tensor in (*packed.data, *state.values())]
    stack.step(packed, state)
    assert all(torch.equal(a, b) for a, b in zip(before, (*packed.data, *state.values()), strict=True))


class Calls(TorchFunctionMode):
    """Torch's functions that are called while it lasts, each with the shape of its first argument."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if args and type(args[0]) is torch.Tensor:
            self.shapes.setdefault(func.__name__, []).append(tuple(args[0].shape))
        return func(*args, **(kwargs or {}))


def calls_of(kind: type[Network], *outputs: str) -> dict[str, list[tuple[int, ...]]]:
    """Of rows of 5, 3 and 3 steps, 11 in all."""
    _, stack = make_network(kind)
    packed = pack_inputs(stack.spec, [random_inputs(stack.spec, length) for length in (5, 3, 3)])
    with Calls() as calls:
        stack.step(packed, stack.initial_state(3), outputs=outputs)
    return calls.shapes


def test_nodes_outside_recurrences_run_once_on_all_steps_of_all_rows_and_those_nobody_asked_for_do_not() -> None:
    both = calls_of(ActorCritic, "policy", "value")
    assert (both["layer_norm"], both["softmax"]) == ([(11, 6)], [(11, 3)])
    assert both["linear"].count((11, 6)) == 2
    one = calls_of(ActorCritic, "value")
    assert one["layer_norm"] == [(11, 6)]
    assert "softmax" not in one
    assert one["linear"].count((11, 6)) == 1


def test_of_a_step_graph_what_feeds_itself_runs_step_by_step_on_all_rows_together_and_all_else_once() -> None:
    calls = calls_of(MinGru, "output")
    assert calls["linear"] == [(11, 4), (11, 4), (11, 5)]
    assert [shape for shape in calls["add"] if shape[0] < 11] == [(3, 5), (3, 5), (3, 5), (1, 5), (1, 5)]
    assert calls_of(MinGru, "hidden")["linear"] == [(11, 4), (11, 4)]
