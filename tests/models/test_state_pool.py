"""The pool: three verbs that touch the slots they name and no others."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrent_cases import CELLS, CPU, make_spec, random_state

from elman_models import State, StatePool

ALL = np.arange(6)


def filled_pool(cell: str) -> tuple[StatePool, State]:
    spec = make_spec(cell, num_layers=2)
    pool, state = StatePool(spec, len(ALL), CPU), random_state(spec, len(ALL))
    pool.replace(ALL, state)
    return pool, state


def tensors(state: State) -> list[torch.Tensor]:
    return [state.h] if state.c is None else [state.h, state.c]


@pytest.mark.parametrize("cell", CELLS)
@settings(deadline=None, max_examples=25)
@given(slots=st.lists(st.integers(0, 5), unique=True, max_size=6))
def test_slots_outside_the_batch_are_untouched(cell: str, slots: list[int]) -> None:
    pool, before = filled_pool(cell)
    others = np.setdiff1d(ALL, slots)
    pool.replace(np.array(slots, np.int64), random_state(make_spec(cell, num_layers=2), len(slots)))
    pool.reset(np.array(slots, np.int64))
    for now, then in zip(tensors(pool.read(others)), tensors(before), strict=True):
        assert torch.equal(now, then[:, others])
    assert all(not t.any() for t in tensors(pool.read(np.array(slots, np.int64))))


@pytest.mark.parametrize("cell", CELLS)
def test_what_was_replaced_is_read_in_the_order_asked_for(cell: str) -> None:
    pool, state = filled_pool(cell)
    order = np.array([4, 0, 3])
    for got, want in zip(tensors(pool.read(order)), tensors(state), strict=True):
        assert torch.equal(got, want[:, order])


def test_what_was_read_is_a_copy() -> None:
    pool, state = filled_pool("lstm")
    pool.read(ALL).h.fill_(9)
    assert torch.equal(pool.read(ALL).h, state.h)


@pytest.mark.parametrize("slots", [[1, 2, 1], [6], [-1], [0, 1 << 40]])
def test_a_slot_that_stands_twice_or_is_outside_the_pool_is_refused(slots: list[int]) -> None:
    pool, before = filled_pool("lstm")
    state = random_state(make_spec("lstm", num_layers=2), len(slots))
    for verb in (pool.read, pool.reset, lambda index: pool.replace(index, state)):
        with pytest.raises(ValueError, match="a slot"):
            verb(np.array(slots))
    assert torch.equal(pool.read(ALL).h, before.h)


def test_read_only_slots_are_taken_without_a_warning() -> None:
    pool, state = filled_pool("gru")
    slots = np.frombuffer(np.array([2, 5]).tobytes(), np.int64)
    assert torch.equal(pool.read(slots).h, state.h[:, [2, 5]])


def test_a_state_of_another_shape_is_refused_before_anything_is_written() -> None:
    pool, before = filled_pool("lstm")
    good = random_state(make_spec("lstm", num_layers=2), 2)
    assert good.c is not None
    for bad in (State(good.h, None), State(good.h, good.c[:, :1]), State(good.h[..., :1], good.c)):
        with pytest.raises(ValueError, match="expected shape"):
            pool.replace(np.array([0, 1]), bad)
    assert torch.equal(pool.read(ALL).h, before.h)


def test_a_state_with_a_c_is_refused_where_the_cell_has_none() -> None:
    pool, state = filled_pool("gru")
    with pytest.raises(ValueError, match="c: expected shape None"):
        pool.replace(ALL, State(state.h, state.h))


def test_a_pool_of_another_dtype_converts_what_it_is_given() -> None:
    spec = make_spec("gru")
    pool, state = StatePool(spec, 3, CPU, torch.bfloat16), random_state(spec, 3)
    pool.replace(np.arange(3), state)
    assert torch.equal(pool.read(np.arange(3)).h, state.h.to(torch.bfloat16))


def test_slot_bytes_is_the_specs_state_in_the_pools_dtype() -> None:
    spec = make_spec("lstm_projected", num_layers=3)
    assert StatePool(spec, 5, CPU).slot_bytes == 4 * spec.state_numel
    assert StatePool(spec, 5, CPU, torch.bfloat16).slot_bytes == 2 * spec.state_numel


def test_a_pool_without_slots_is_refused() -> None:
    with pytest.raises(ValueError, match="num_slots"):
        StatePool(make_spec(), 0, CPU)
