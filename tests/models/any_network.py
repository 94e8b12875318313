"""Random small networks as people write them, few of which a bundle can hold."""

from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import nn

SIZES = st.sampled_from([2, 3, 4])
"""So few that layers of different places often have the same shape."""
LAYER_NAMES = ("a", "b", "fc", "head", "inp", "linear", "out", "proj", "z")
TABLE_NAMES = ("char_emb", "embedding", "table", "tokens")
STACKS = (nn.LSTM, nn.GRU, nn.RNN, nn.LSTMCell, nn.GRUCell)


@dataclass(frozen=True)
class Plan:
    """What a network is made of, in the order of its chain."""

    table: tuple[str, int, int] | None
    """Name, num_embeddings, embedding_dim."""
    before: tuple[tuple[str, int, int, bool], ...]
    """Name, in, out and whether with bias."""
    stacks: tuple[tuple[type[nn.Module], int, int], ...]
    """Class, in, hidden."""
    after: tuple[tuple[str, int, int, bool], ...]
    skip: tuple[str, int, int, bool] | None
    """A layer from what enters the stack to the output, added to it."""
    norm: bool
    tied: bool
    is_list: bool
    """Whether the stacks are in a ModuleList."""


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans whose sizes fit."""
    names = list(draw(st.permutations(LAYER_NAMES)))
    size = first = draw(SIZES)
    table = None
    if draw(st.booleans()):
        table = (draw(st.sampled_from(TABLE_NAMES)), draw(SIZES), size)
    layers: tuple[list[Any], list[Any]] = ([], [])
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        layers[0].append((names.pop(), size, size := draw(SIZES), draw(st.booleans())))
    entering = size
    stacks = [
        (draw(st.sampled_from(STACKS)), size, size := draw(SIZES)) for _ in range(draw(st.sampled_from([1, 1, 2])))
    ]
    for _ in range(draw(st.sampled_from([0, 1, 1, 2]))):
        layers[1].append((names.pop(), size, size := draw(SIZES), draw(st.booleans())))
    # Beside a bare stack such a layer looks like the head: a residual is among what `pack` says that it assumes.
    has_skip = bool(layers[1]) and draw(st.integers(0, 3)) == 0
    skip = (names.pop(), entering, size, draw(st.booleans())) if has_skip else None
    tied = table is not None and bool(layers[1]) and layers[1][-1][1:3] == (first, table[1]) and draw(st.booleans())
    norm, is_list = draw(st.integers(0, 5)) == 0, draw(st.booleans())
    return Plan(table, tuple(layers[0]), tuple(stacks), tuple(layers[1]), skip, norm, tied, is_list)


class AnyNetwork(nn.Module):
    """The network of a plan, defined in the chain's order; `is_late`: an embedding of that name only after the rest."""

    def __init__(self, plan: Plan, is_late: bool) -> None:
        super().__init__()
        self.plan = plan
        is_late = is_late and plan.table is not None and "emb" in plan.table[0]
        if plan.table and not is_late:
            self.add_module(plan.table[0], nn.Embedding(*plan.table[1:]))
        for name, *sizes, bias in plan.before:
            self.add_module(name, nn.Linear(*sizes, bias=bias))
        if plan.is_list:
            self.n = nn.ModuleList()
        for number, (make, *sizes) in enumerate(plan.stacks):
            (self.n if plan.is_list else self).add_module(str(number) if plan.is_list else f"n{number}", make(*sizes))
        self.norm = nn.LayerNorm(plan.stacks[-1][2]) if plan.norm else None
        for name, *sizes, bias in (*plan.after, *([plan.skip] if plan.skip else [])):
            self.add_module(name, nn.Linear(*sizes, bias=bias))
        if plan.table and is_late:
            self.add_module(plan.table[0], nn.Embedding(*plan.table[1:]))
        for parameter in self.parameters():
            parameter.requires_grad_(False).uniform_(-1, 1)
        if plan.tied and plan.table:
            self.get_submodule(plan.after[-1][0]).weight = self.get_submodule(plan.table[0]).weight

    def random_input(self, steps: int) -> torch.Tensor:
        """[steps], or [steps, input_size]."""
        if self.plan.table:
            return torch.randint(self.plan.table[1], (steps,))
        return torch.randn(steps, (self.plan.before or self.plan.stacks)[0][1])

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """One sequence from zeros, [T, ...] to [T, output_size]."""
        value = self.get_submodule(self.plan.table[0])(input) if self.plan.table else input
        for name, *_ in self.plan.before:
            value = self.get_submodule(name)(value)
        entering = value
        for number in range(len(self.plan.stacks)):
            value = run(self.get_submodule(f"n.{number}" if self.plan.is_list else f"n{number}"), value)
        value = value if self.norm is None else self.norm(value)
        for name, *_ in self.plan.after:
            value = self.get_submodule(name)(value)
        return value + self.get_submodule(self.plan.skip[0])(entering) if self.plan.skip else value


def run(stack: nn.Module, input: torch.Tensor) -> torch.Tensor:
    """A stack or a cell over a sequence [T, input_size]."""
    if not isinstance(stack, nn.RNNCellBase):
        return stack(input)[0]
    state, outputs = None, []
    for step in input.unsqueeze(1):
        state = stack(step, state)
        outputs.append(state[0] if isinstance(state, tuple) else state)
    return torch.cat(outputs)
