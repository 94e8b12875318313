"""The plan that is always there: the flattened `torch.nn` module itself."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from elman_models.packed import Packed
from elman_models.state import State


class ModulePlan:
    """Calls the module: [T, B, input_size] where all rows are equally long, else one `PackedSequence`.

    torch's oneDNN switch is global to the process, so it is set for each call, on the one engine thread. Off, torch
    uses its own native kernels, which do not repack the weights at every call.
    """

    def __init__(self, name: str, module: nn.RNNBase, *, onednn: bool) -> None:
        self.name = name
        self._module = module
        self._onednn = onednn

    def run(self, input: Packed, state: State) -> tuple[torch.Tensor, State]:
        """See `Plan.run`."""
        with _onednn(self._onednn):
            if input.is_ragged:
                packed, h_n = self._module(PackedSequence(input.data, torch.from_numpy(input.batch_sizes)), _hx(state))
                return packed.data, _state(h_n)
            output, h_n = self._module(input.data.view(input.seq_len, input.num_rows, -1), _hx(state))
            return output.reshape(input.data.shape[0], -1), _state(h_n)


@contextmanager
def _onednn(enabled: bool) -> Iterator[None]:
    # torch.backends.mkldnn.flags() sets TF32 too, and warns about it on machines without an Intel GPU.
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(enabled)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


def _hx(state: State) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    return state.h if state.c is None else (state.h, state.c)


def _state(hx: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> State:
    return State(*hx) if isinstance(hx, tuple) else State(hx, None)
