"""The plan that is always there: the flattened `torch.nn` module itself."""

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from elman_models.packed import Packed
from elman_models.state import State


class ModulePlan:
    """Calls the module: [T, B, input_size] where all rows are equally long, else one `PackedSequence`.

    On a CPU torch hands an LSTM's equally long rows to oneDNN, which repacks the weights at every call and is the
    slower for it at few rows. A last step of no rows makes them ragged to torch, which then uses its own kernels; it
    costs 7 us a layer. torch's switch for oneDNN would do the same, but it is the whole process's: threads that load
    models would turn it for each other and for the engine's, whose int8 products take 300 times as long without oneDNN.
    """

    def __init__(self, name: str, module: nn.RNNBase, *, onednn: bool) -> None:
        """`onednn`: whether torch may use it."""
        self.name = name
        self._module = module
        self._hides_length = not onednn and module.mode == "LSTM" and not next(module.parameters()).is_cuda

    def run(self, input: Packed, state: State) -> tuple[torch.Tensor, State]:
        """See `Plan.run`."""
        data, sizes = input
        if sizes[-1] != sizes[0]:  # ragged
            return self._run_packed(data, sizes, state)
        if self._hides_length:
            return self._run_packed(data, np.append(sizes, 0), state)
        output, h_n = self._module(data.view(len(sizes), int(sizes[0]), -1), _hx(state))
        return output.reshape(data.shape[0], -1), _state(h_n)

    def _run_packed(self, data: torch.Tensor, sizes: np.ndarray, state: State) -> tuple[torch.Tensor, State]:
        packed, h_n = self._module(PackedSequence(data, torch.from_numpy(sizes)), _hx(state))
        return packed.data, _state(h_n)


def _hx(state: State) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    return state.h if state.c is None else (state.h, state.c)


def _state(hx: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> State:
    return State(*hx) if isinstance(hx, tuple) else State(hx, None)
