"""What an .onnx file holds, as plain records."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]
Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array


@dataclass(frozen=True)
class OnnxInput:
    """An input of the graph."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int | str, ...]
    """Of open axes the name, which is made up where the file has none."""


@dataclass(frozen=True)
class OnnxNode:
    """One operator."""

    name: str
    op: str
    inputs: tuple[str, ...]
    """Names of values; empty: left out."""
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]
    opset: int
    """The version of ONNX's operators that it is one of."""

    def __str__(self) -> str:
        return f"node {self.name or self.outputs[0]} ({self.op})"


@dataclass(frozen=True)
class OnnxGraph:
    """A model."""

    inputs: tuple[OnnxInput, ...]
    nodes: tuple[OnnxNode, ...]
    """In an order in which each follows those that it needs."""
    constants: Mapping[str, Array]
    """Weights and other constants, by the value's name."""
    outputs: tuple[str, ...]
    joined_inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Inputs of the file that are several here, one after another along their first axis."""
    joined_outputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Outputs likewise."""
