"""One step of the stack: bidirectional batches, given states, what it refuses and what it leaves alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrent_cases import (
    CELLS,
    CPU,
    Reference,
    as_state,
    assert_near,
    make_model,
    make_spec,
    pack,
    random_input,
    random_state,
    unpack,
)

from elman_models import Stack, State, WeightsError


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_a_bidirectional_ragged_batch_gives_each_sequence_what_it_gets_alone(cell: str, num_layers: int) -> None:
    torch.manual_seed(2)
    spec = make_spec(cell, num_layers=num_layers, bidirectional=True, parts=True)
    reference, stack = make_model(spec)
    lengths = [6, 4, 4, 1]
    rows, before = [random_input(spec, n) for n in lengths], random_state(spec, len(lengths))
    output, after = stack.step(pack(rows), before)
    for b, (row, got) in enumerate(zip(rows, unpack(output, lengths), strict=True)):
        h_0 = before.h[:, b]
        want, hx = reference(row, h_0 if before.c is None else (h_0, before.c[:, b]))
        final = as_state(hx)  # [num_layers * 2, size]: layer 0 forward, layer 0 reverse, layer 1 forward, ...
        assert_near(got, want)
        assert_near(after.h[:, b], final.h)
        assert_near(None if after.c is None else after.c[:, b], final.c)


@pytest.mark.parametrize("cell", CELLS)
@settings(deadline=None, max_examples=10)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6))
def test_a_ragged_batch_continues_each_row_from_its_own_state(cell: str, lengths: list[int]) -> None:
    torch.manual_seed(3)
    spec = make_spec(cell, num_layers=2)
    reference, stack = make_model(spec)
    lengths = sorted(lengths, reverse=True)
    rows, before = [random_input(spec, n) for n in lengths], random_state(spec, len(lengths))
    output, after = stack.step(pack(rows), before)
    for b, (row, got) in enumerate(zip(rows, unpack(output, lengths), strict=True)):
        want, hx = reference(row, before.h[:, b] if before.c is None else (before.h[:, b], before.c[:, b]))
        assert_near(got, want)
        assert_near(after.h[:, b], as_state(hx).h)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("parts", [False, True], ids=["plain", "with a head"])
def test_the_last_outputs_alone_are_those_of_all_and_the_head_is_run_on_them_alone(
    monkeypatch: pytest.MonkeyPatch, parts: bool, bidirectional: bool
) -> None:
    spec = make_spec(parts=parts, bidirectional=bidirectional)
    _, stack = make_model(spec)
    projected, project = [], stack._project
    monkeypatch.setattr(stack, "_project", lambda output: (projected.append(len(output)), project(output))[1])
    for lengths in ([5, 5, 2, 1], [3, 3], [1, 1, 1]):
        rows, before = [random_input(spec, n) for n in lengths], random_state(spec, len(lengths))
        every, after = stack.step(pack(rows), before)
        last, same = stack.step(pack(rows), before, last_only=True)
        assert_near(last, torch.stack([row[-1] for row in unpack(every, lengths)]))
        assert torch.equal(same.h, after.h)
        assert projected[-2:] == [sum(lengths), len(lengths)]
        assert stack.num_computed == sum(lengths)


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_writes_neither_to_its_input_nor_to_the_state_it_was_given(cell: str) -> None:
    spec = make_spec(cell)
    _, stack = make_model(spec)
    packed, before = pack([random_input(spec, 3)]), random_state(spec, 1)
    data, h = packed.data.clone(), before.h.clone()
    stack.step(packed, before)
    assert torch.equal(packed.data, data)
    assert torch.equal(before.h, h)


@pytest.mark.parametrize("cell", CELLS)
def test_the_initial_state_is_zeros_in_pytorchs_shapes(cell: str) -> None:
    spec = make_spec(cell, num_layers=2, bidirectional=True)
    _, stack = make_model(spec)
    state = stack.initial_state(3)
    h_n = Reference(spec)(random_input(spec, 1))[1]
    want = as_state(h_n)
    assert state.h.shape == (want.h.shape[0], 3, want.h.shape[1])
    assert (state.c is None) == (want.c is None)
    assert not state.h.any()


def test_a_loaded_stack_does_not_change_when_its_weights_source_does() -> None:
    spec = make_spec(parts=True)
    weights = Reference(spec).state_dict()
    stack = Stack(spec, weights, CPU)
    packed, state = pack([random_input(spec, 3)]), stack.initial_state(1)
    before, _ = stack.step(packed, state)
    for tensor in weights.values():
        tensor.fill_(7)
    assert torch.equal(stack.step(packed, state)[0], before)


def test_weights_bytes_counts_every_parameter() -> None:
    spec = make_spec(num_layers=2, parts=True)
    reference, stack = make_model(spec)
    assert stack.weights_bytes == sum(p.nbytes for p in reference.parameters())


@pytest.mark.parametrize("name", ["embedding.weight", "head.weight", "head.bias", "rnn.bias_hh_l0"])
def test_a_stack_without_one_of_its_weights_is_refused_by_name(name: str) -> None:
    spec = make_spec(parts=True)
    weights = Reference(spec).state_dict()
    del weights[name]
    with pytest.raises(WeightsError, match=name):
        Stack(spec, weights, CPU)


def test_a_step_leaves_torchs_onednn_switch_as_it_was() -> None:
    spec = make_spec()
    _, stack = make_model(spec)
    before = torch._C._get_mkldnn_enabled()
    stack.step(pack([random_input(spec, 2)]), stack.initial_state(1))
    with pytest.raises(RuntimeError):
        stack.step(pack([random_input(spec, 2)]), State(torch.zeros(9, 9, 9), torch.zeros(9, 9, 9)))
    assert torch._C._get_mkldnn_enabled() == before
