"""The packed layout."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elman._shared import packed_layout as packed

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=12).map(lambda lengths: sorted(lengths, reverse=True))


@given(LENGTHS)
def test_it_is_the_layout_of_torch_packed_sequences(lengths):
    torch = pytest.importorskip("torch")
    sequences = [np.random.default_rng(length).random((length, 3), np.float32) for length in lengths]
    expected = torch.nn.utils.rnn.pack_sequence([torch.from_numpy(sequence) for sequence in sequences]).data
    assert np.array_equal(packed.pack(sequences, np.array(lengths)), expected.numpy())


@given(LENGTHS)
def test_unpack_is_the_inverse_of_pack(lengths):
    sequences = [np.arange(length) + 100 * row for row, length in enumerate(lengths)]
    back = packed.unpack(packed.pack(sequences, np.array(lengths)), np.array(lengths))
    assert all(np.array_equal(one, other) for one, other in zip(sequences, back, strict=True))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_order_sorts_and_undo_restores(lengths):
    order = packed.order_of(np.array(lengths))
    ordered = lengths if order is None else [lengths[place] for place in order]
    assert ordered == sorted(lengths, reverse=True)
    assert packed.undo(order, ordered) == lengths
