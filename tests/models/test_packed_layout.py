"""The packed layout is torch's own."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from recurrent_cases import pack
from torch.nn.utils.rnn import pack_sequence

from elman_models import Packed, batch_sizes


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_batch_sizes_and_data_are_those_of_torchs_packed_sequence(lengths: list[int]) -> None:
    rows = [torch.randn(n, 2) for n in sorted(lengths, reverse=True)]
    theirs, ours = pack_sequence(rows), pack(rows)
    assert ours.batch_sizes.tolist() == theirs.batch_sizes.tolist()
    assert ours.batch_sizes.dtype == np.int64
    assert torch.equal(ours.data, theirs.data)


def test_a_packed_tensor_knows_its_rows_steps_and_raggedness() -> None:
    ragged = Packed(torch.zeros(6, 1), batch_sizes(np.array([3, 2, 1])))
    assert (ragged.num_rows, ragged.seq_len, ragged.is_ragged) == (3, 3, True)
    even = Packed(torch.zeros(6, 1), batch_sizes(np.array([2, 2, 2])))
    assert (even.num_rows, even.seq_len, even.is_ragged) == (3, 2, False)


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=9))
def test_the_last_steps_are_those_of_each_row(lengths: list[int]) -> None:
    rows = [torch.randn(n, 2) for n in sorted(lengths, reverse=True)]
    packed = pack(rows)
    assert torch.equal(packed.last_steps(packed.data), torch.stack([row[-1] for row in rows]))
