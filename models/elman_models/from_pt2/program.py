"""What a .pt2 file says, as plain records."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Ref:
    """A value of the graph, by name."""

    name: str


@dataclass(frozen=True)
class Shape:
    """Of a tensor, as it was when the file was made."""

    sizes: tuple[int, ...]
    """In the example."""
    symbols: tuple[str, ...]
    """Of axes that the file leaves open the expression, as text that is only compared; else empty."""
    dtype: torch.dtype


@dataclass(frozen=True)
class Pt2Node:
    """One operation."""

    name: str
    target: str
    """`torch.ops.aten.linear.default`."""
    arguments: Mapping[str, object]
    """By name: numbers, texts, lists, `Ref` where a value of the graph is meant."""
    outputs: tuple[str, ...]
    is_list: bool
    """Whether it gives a list of tensors."""
    line: str
    """The author's, in words; empty where the file does not tell."""
    layers: str
    """The modules that it is in, as the file tells them."""

    @property
    def op(self) -> str:
        """`linear` of torch.ops.aten.linear.default."""
        return self.target.removeprefix("torch.ops.aten.").partition(".")[0]

    def refs(self) -> Iterator[Ref]:
        """All values that it takes."""
        for value in self.arguments.values():
            yield from refs_of(value)

    def __str__(self) -> str:
        short = self.target.removeprefix("torch.ops.")
        return f"node {self.name} ({short})" + (f", {self.line}" if self.line else "")


@dataclass(frozen=True)
class Program:
    """A model."""

    inputs: tuple[str, ...]
    """Values that a user gives, tensors all."""
    constants: Mapping[str, str]
    """Of parameters, buffers and lifted constants: the value's name to the tensor's."""
    nodes: tuple[Pt2Node, ...]
    """In order."""
    outputs: Mapping[str, Ref]
    """By what they are called: the keys of a dict, or `output`, `output_0`."""
    shapes: Mapping[str, Shape]
    """Of the values that are tensors."""

    def makers(self) -> dict[str, Pt2Node]:
        """By a value's name the node that gives it."""
        return {name: node for node in self.nodes for name in node.outputs}


def refs_of(value: object) -> Iterator[Ref]:
    """All in an argument."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from refs_of(part)
