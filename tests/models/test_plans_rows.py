"""Rows as oneDNN sees them."""

import torch

from elman_models.plans.rows import rounded, with_rows


def test_rows_are_rounded_up_to_four_significant_bits() -> None:
    assert [rounded(rows) for rows in (1, 7, 15, 16, 17, 31, 32, 33, 100, 129, 256, 257)] == [
        *(1, 7, 15, 16, 18, 32, 32, 36, 104, 144, 256, 288)
    ]
    for rows in range(1, 5000):
        assert rows <= rounded(rows) < 1.125 * rows + 1
        assert rounded(rounded(rows)) == rounded(rows)


def test_few_sizes_stand_for_many() -> None:
    assert len({rounded(rows) for rows in range(1, 4097)}) < 90


def test_missing_rows_are_zeros_and_none_missing_is_no_copy() -> None:
    tensor = torch.ones(2, 3, 4)
    assert with_rows(tensor, 3) is tensor
    padded = with_rows(tensor, 5)
    assert padded.shape == (2, 5, 4)
    assert torch.equal(padded[:, :3], tensor)
    assert not padded[:, 3:].any()
