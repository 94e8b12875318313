"""What a module's own stacks end with while it runs, by the states that its graph has for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from elman_models.graph.spec import GraphSpec

Tensors = dict[str, torch.Tensor]
_STACKS = (nn.RNN, nn.LSTM, nn.GRU)  # one of the author's own may give what it likes


class StackEnds:
    """Of the `torch.nn` stacks that nodes are called after; one that is run twice in a call is not looked at."""

    def __init__(self, module: nn.Module, spec: GraphSpec) -> None:
        self._states = {node.name: node.states for node in spec.nodes if node.states}
        named = module.named_modules(remove_duplicate=False)  # a node has whichever name
        self._stacks = {name: m for name, m in named if type(m) in _STACKS and name in self._states}
        self._given: dict[str, list[object]] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """While the module is called."""
        self._given = {name: [] for name in self._stacks}
        hooks = [m.register_forward_hook(partial(self._note, name)) for name, m in self._stacks.items()]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _note(self, name: str, _module: nn.Module, _arguments: object, given: tuple[object, object]) -> None:
        self._given[name].append(given[1])

    def of(self, batch: int) -> Tensors:
        """By state [layers x directions, B, size], of the latest call, of so many rows."""
        found: Tensors = {}
        for name, ends in self._given.items():
            told = ends[0] if len(ends) == 1 else ()
            tensors = told if isinstance(told, tuple) else (told,)
            for own, tensor in zip("hc", tensors, strict=False):
                if isinstance(tensor, torch.Tensor):
                    of_rows = tensor if tensor.dim() > 2 else tensor.unsqueeze(1)  # [layers, size]: of one row
                    if of_rows.shape[1] == batch:
                        found[self._states[name][own]] = of_rows.detach()
        return found
