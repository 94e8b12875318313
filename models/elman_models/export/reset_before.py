"""A GRU whose reset gate stands before the product, as a module: files of Keras and ONNX hold it, torch has none."""

import torch
from torch import nn
from torch.nn import functional

from elman_models.graph.operations.reset_before import step

_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class ResetBeforeGRU(nn.Module):
    """Called as a `torch.nn.GRU` of one layer, with weights of its names: see `GruResetBefore` for what it computes."""

    mode = "GRU_RESET_BEFORE"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        bidirectional: bool = False,
        batch_first: bool = False,
    ) -> None:
        """With weights of zeros, to be loaded."""
        super().__init__()
        self.hidden_size = hidden_size
        self.bias = bias
        self.bidirectional = bidirectional
        self.batch_first = batch_first
        wide = 3 * hidden_size
        shapes = ((wide, input_size), (wide, hidden_size), (wide,), (wide,))
        for suffix in ("_l0", "_l0_reverse")[: 1 + bidirectional]:
            for name, shape in list(zip(_NAMES, shapes, strict=True))[: 4 if bias else 2]:
                self.register_parameter(f"{name}{suffix}", nn.Parameter(torch.zeros(shape)))

    def forward(self, input: torch.Tensor, hx: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Output [T, B, directions x hidden_size] of [T, B, input_size], or batch first, and h_n [directions, B,
        hidden_size]; `hx` likewise."""
        if not self.bidirectional:
            return self.along(input, hx, self.weights_of("_l0"))
        time = 1 if self.batch_first else 0
        begin = (None, None) if hx is None else hx.chunk(2)
        forth, end = self.along(input, begin[0], self.weights_of("_l0"))
        back, other_end = self.along(torch.flip(input, (time,)), begin[1], self.weights_of("_l0_reverse"))
        return torch.cat([forth, torch.flip(back, (time,))], -1), torch.cat([end, other_end])

    def weights_of(self, suffix: str) -> list[torch.Tensor]:
        """Of one direction, in torch's order."""
        return [self.get_parameter(f"{name}{suffix}") for name in _NAMES[: 4 if self.bias else 2]]

    def along(
        self, input: torch.Tensor, hx: torch.Tensor | None, weights: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One direction; while a module is exported one operation in place of it."""
        bias = weights[2] + weights[3] if self.bias else None
        gates = functional.linear(input.transpose(0, 1) if self.batch_first else input, weights[0], bias)
        h = gates.new_zeros(gates.shape[1], self.hidden_size) if hx is None else hx[0]
        outputs = []
        for given in gates:
            h = step(given, h, weights[1])
            outputs.append(h)
        return torch.stack(outputs, 1 if self.batch_first else 0), h[None]
