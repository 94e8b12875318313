"""Numbers of rows that oneDNN has kernels for.

oneDNN compiles a kernel for every new size, 0.5 to 4 ms each, and keeps 1,024 of them; rows change from batch to batch.
So rows are rounded up to four significant bits: 8 sizes between two powers of two, on average 3% more rows, no copies
for powers of two. What the added rows give is cut off; no row of a batch is changed by them.
"""

import torch


def rounded(rows: int) -> int:
    """The next number with at most four significant bits."""
    step = 1 << max(0, rows.bit_length() - 4)
    return -(-rows // step) * step


def with_rows(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    """`tensor` [..., rows or fewer, features] with zeros for the missing rows; itself where none is missing."""
    missing = rows - tensor.shape[-2]
    return torch.constant_pad_nd(tensor, (0, 0, 0, missing)) if missing else tensor
