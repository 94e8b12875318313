"""Recurrent stacks kept whole while a module is exported: one operation of ours in place of `RNN.forward` and the like.

`torch.export` unrolls what it sees, and so would fix the length of a sequence.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

STACKS: tuple[type[nn.RNNBase], ...] = (nn.RNN, nn.LSTM, nn.GRU)

Initial = torch.Tensor | tuple[torch.Tensor, torch.Tensor] | None
Outputs = tuple[torch.Tensor, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]


class PackedSequenceInside(Exception):
    """A module packs its sequences itself."""


@torch.library.custom_op("elman_export::stack", mutates_args=())
def stack(
    input: torch.Tensor,
    initial: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor],
    mode: str,
    hidden_size: int,
    num_layers: int,
    proj_size: int,
    bias: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Output, h_n and c_n (meaningless where there is none) of a stack; it is traced and never run."""
    raise NotImplementedError("elman_export::stack is traced, not run")


@stack.register_fake
def _(
    input: torch.Tensor,
    initial: Sequence[torch.Tensor],
    weights: Sequence[torch.Tensor],
    mode: str,
    hidden_size: int,
    num_layers: int,
    proj_size: int,
    bias: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    directions, size = 2 if bidirectional else 1, proj_size or hidden_size
    torch._check(input.shape[-1] == weights[0].shape[1], lambda: f"input_size: expected {weights[0].shape[1]}")
    batch = () if input.dim() == 2 else (input.shape[0 if batch_first else 1],)
    for given, width in zip(initial, (size, hidden_size), strict=False):
        expected = (directions * num_layers, *batch, width)
        for axis, expected_size in enumerate(expected):
            torch._check(given.shape[axis] == expected_size, lambda: f"initial state: expected {expected}")
    return (
        input.new_empty((*input.shape[:-1], directions * size)),
        input.new_empty((directions * num_layers, *batch, size)),
        input.new_empty((directions * num_layers, *batch, hidden_size)),
    )


def _forward(self: nn.RNNBase, input: torch.Tensor | PackedSequence, hx: Initial = None) -> Outputs:
    if isinstance(input, PackedSequence):
        raise PackedSequenceInside
    initial = [] if hx is None else [hx] if isinstance(hx, torch.Tensor) else list(hx)
    weights = [getattr(self, name) for layer in self._all_weights for name in layer]
    output, h_n, c_n = torch.ops.elman_export.stack(
        input,
        initial,
        weights,
        self.mode,
        self.hidden_size,
        self.num_layers,
        self.proj_size,
        self.bias,
        self.bidirectional,
        self.batch_first,
    )
    return (output, (h_n, c_n)) if self.mode == "LSTM" else (output, h_n)


@contextmanager
def opaque_stacks() -> Iterator[None]:
    """While it lasts, `RNN`, `LSTM` and `GRU` are one operation each, in the whole process."""
    kept = [(kind, kind.forward) for kind in STACKS]
    try:
        for kind in STACKS:
            kind.forward = _forward  # type: ignore[method-assign]
        yield
    finally:
        for kind, forward in kept:
            kind.forward = forward  # type: ignore[method-assign]
