"""Recurrent stacks kept whole while a module is exported: one operation of ours in place of `RNN.forward` and the like.

`torch.export` unrolls what it sees, and so would fix the length of a sequence.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.distributions import Distribution
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

from elman_models.export.reset_before import ResetBeforeGRU

STACKS: tuple[type[nn.RNNBase], ...] = (nn.RNN, nn.LSTM, nn.GRU)

Initial = torch.Tensor | tuple[torch.Tensor, torch.Tensor] | None
Outputs = tuple[torch.Tensor, torch.Tensor | tuple[torch.Tensor, torch.Tensor]]


class PackedSequenceInside(Exception):
    """A module packs its sequences itself."""


def _check(holds: bool, message: str) -> None:
    torch._check(holds, lambda: message)  # type: ignore[no-untyped-call]


def _of_example(size: int | torch.SymInt) -> object:
    """A size as the author gave it, which an open axis bears beside its symbol."""
    return getattr(size.node, "hint", None) or size if isinstance(size, torch.SymInt) else size


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
    given, wanted = input.shape[-1], weights[0].shape[1]
    _check(given == wanted, f"input_size: expected {wanted}, got {_of_example(given)}")
    batch = () if input.dim() == 2 else (input.shape[0 if batch_first else 1],)
    for state, width in zip(initial, (size, hidden_size), strict=False):
        expected = (directions * num_layers, *batch, width)
        for axis, expected_size in enumerate(expected):
            _check(state.shape[axis] == expected_size, f"initial state: expected {expected}")
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


def _along(
    self: ResetBeforeGRU, input: torch.Tensor, hx: torch.Tensor | None, weights: list[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    initial, size = [] if hx is None else [hx], self.hidden_size
    output, h_n, _ = torch.ops.elman_export.stack(
        input, initial, weights, self.mode, size, 1, 0, self.bias, False, self.batch_first
    )
    return output, h_n


@torch.library.custom_op("elman_export::attend", mutates_args=())
def attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, num_heads: int, batch_first: bool
) -> torch.Tensor:
    """Attention between its projections; it is traced and never run."""
    raise NotImplementedError("elman_export::attend is traced, not run")


@attend.register_fake
def _(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, num_heads: int, batch_first: bool) -> torch.Tensor:
    return query.new_empty((*query.shape[:-1], value.shape[-1]))


class MaskInside(Exception):
    """Attention with a mask, or with what no graph has."""


def _attention(
    self: nn.MultiheadAttention,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    key_padding_mask: torch.Tensor | None = None,
    need_weights: bool = True,
    attn_mask: torch.Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[torch.Tensor, None]:
    if (
        key_padding_mask is not None
        or attn_mask is not None
        or is_causal
        or self.bias_k is not None
        or self.add_zero_attn
    ):
        raise MaskInside
    if self.in_proj_weight is not None:
        weights = self.in_proj_weight.chunk(3)
    else:
        weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
    biases = (None, None, None) if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
    projected = [nn.functional.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]
    output = torch.ops.elman_export.attend(*projected, self.num_heads, self.batch_first)
    return self.out_proj(output), None


class GatheredSizes(TorchFunctionMode):
    """While it lasts, axes that `gather` does not pick from are as long in the index: else torch.export, which knows no
    more than that they are no longer, would fix them."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (torch.gather, torch.Tensor.gather):
            given, dim, index = _of_gather(*args, **kwargs)
            for axis in range(given.dim()):
                is_open = isinstance(given.shape[axis], torch.SymInt) and isinstance(index.shape[axis], torch.SymInt)
                if axis != dim % given.dim() and is_open:
                    bool(given.shape[axis] == index.shape[axis])  # as they are in the example from here on
        return func(*args, **kwargs)


_NONE, _MADE, _VALIDATED = torch.Size(), Distribution.__init__, Distribution._validate_sample


def _unchecked(
    self: Distribution, batch_shape: torch.Size = _NONE, event_shape: torch.Size = _NONE, validate_args: object = None
) -> None:
    _MADE(self, batch_shape, event_shape, validate_args=False)


def _unvalidated(self: Distribution, value: torch.Tensor) -> None:
    """Nothing: whether all numbers are in a distribution's support would be a branch on them."""


def _stay(self: torch.enable_grad) -> None:
    self.prev = torch.is_grad_enabled()


def _of_gather(
    input: torch.Tensor, dim: int, index: torch.Tensor, **_: object
) -> tuple[torch.Tensor, int, torch.Tensor]:
    return input, dim, index


@contextmanager
def opaque_stacks() -> Iterator[None]:
    """While it lasts, `RNN`, `LSTM`, `GRU`, a direction of our `ResetBeforeGRU` and `MultiheadAttention` are one
    operation each, in the whole process."""
    replaced: tuple[type[nn.Module], ...] = (*STACKS, nn.MultiheadAttention)
    kept = [(kind, kind.forward) for kind in replaced]
    along = ResetBeforeGRU.along
    fast = torch.backends.mha.get_fastpath_enabled()
    enter = torch.enable_grad.__enter__
    try:
        for kind in STACKS:
            kind.forward = _forward
        ResetBeforeGRU.along = _along  # type: ignore[method-assign]
        nn.MultiheadAttention.forward = _attention  # type: ignore[method-assign]
        torch.backends.mha.set_fastpath_enabled(False)  # else a transformer's layer is one operation of torch's own
        Distribution.__init__ = _unchecked  # type: ignore[method-assign]  # else it branches on its numbers
        Distribution._validate_sample = _unvalidated  # type: ignore[method-assign]
        torch.enable_grad.__enter__ = _stay  # type: ignore[method-assign]  # else it is a graph within the graph
        with GatheredSizes():
            yield
    finally:
        Distribution.__init__ = _MADE  # type: ignore[method-assign]
        Distribution._validate_sample = _VALIDATED  # type: ignore[method-assign]
        torch.enable_grad.__enter__ = enter  # type: ignore[method-assign]
        torch.backends.mha.set_fastpath_enabled(fast)
        ResetBeforeGRU.along = along  # type: ignore[method-assign]
        for patched, forward in kept:
            patched.forward = forward
