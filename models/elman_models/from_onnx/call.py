"""One operator with what it is given: attributes and constants as numbers, the rest as tensors or sizes."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from elman_models.export.refusals import ExportError
from elman_models.from_onnx.graph import Array, OnnxNode
from elman_models.from_onnx.sizes import Number, Operand, Sizes


class OnnxCall:
    """An operator of the file."""

    def __init__(self, node: OnnxNode, constants: Mapping[str, Array], given: Sequence[Operand] = ()) -> None:
        self.node = node
        self.given = tuple(given)
        self._constants = constants

    def refuse(self, what: str, instead: str = "") -> ExportError:
        """An error, to be raised."""
        return ExportError(f"{self.node}: {what}" + (f". Instead: {instead}" if instead else ""))

    def constant(self, index: int) -> Array | None:
        """An input that is known; None: left out, or computed."""
        name = self.node.inputs[index] if index < len(self.node.inputs) else ""
        return self._constants.get(name) if name else None

    def has(self, index: int) -> bool:
        """Whether there is such an input."""
        return index < len(self.node.inputs) and bool(self.node.inputs[index])

    def operand(self, index: int) -> torch.Tensor | Sizes:
        """An input as it is."""
        given = self.given[index] if index < len(self.given) else None
        if given is None:
            raise self.refuse(f"expected an input {index}, got none")
        return given

    def tensor(self, index: int) -> torch.Tensor:
        """An input as a tensor."""
        return as_tensor(self.operand(index))

    def optional(self, index: int) -> torch.Tensor | None:
        """Likewise, where there is one."""
        return self.tensor(index) if self.has(index) else None

    def tensors(self) -> list[torch.Tensor]:
        """All inputs."""
        return [self.tensor(index) for index in range(len(self.given))]

    def sizes(self, index: int) -> Sizes:
        """An input that says sizes."""
        given = self.operand(index)
        if not isinstance(given, Sizes):
            raise self.refuse(f"input {index} ({self.node.inputs[index]}) depends on the numbers of the input")
        return given

    def integer(self, name: str, default: int | None = None) -> int:
        """An attribute."""
        value = self.node.attributes.get(name, default)
        if not isinstance(value, int):
            raise self.refuse(f"{name}: expected a number, got {value}")
        return value

    def number(self, name: str, default: float) -> float:
        """An attribute."""
        value = self.node.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise self.refuse(f"{name}: expected a number, got {value}")
        return float(value)

    def text(self, name: str, default: str) -> str:
        """An attribute."""
        return str(self.node.attributes.get(name, default))

    def texts(self, name: str) -> tuple[str, ...]:
        """An attribute of several."""
        value = self.node.attributes.get(name, ())
        return tuple(map(str, value)) if isinstance(value, tuple) else (str(value),)

    def array(self, name: str) -> Array | None:
        """An attribute that is a tensor."""
        value = self.node.attributes.get(name)
        return value if isinstance(value, np.ndarray) else None

    def ints(self, name: str, index: int) -> tuple[int, ...] | None:
        """Numbers that are an attribute, or, as in later versions, a constant input; None: neither."""
        value = self.node.attributes.get(name)
        if value is not None:
            return tuple(int(part) for part in value) if isinstance(value, tuple) else (int(value),)
        if not self.has(index):
            return None
        numbers = self.sizes(index).numbers
        if not all(isinstance(number, int) for number in numbers):
            raise self.refuse(f"{name} depends on the batch or the length")
        return tuple(int(number) for number in numbers)

    def limit(self, name: str, index: int) -> float | None:
        """One float that is an attribute, or, as in later versions, a constant input; None: neither."""
        value = self.node.attributes.get(name)
        if isinstance(value, int | float):
            return float(value)
        if not self.has(index):
            return None
        constant = self.constant(index)
        if constant is None or constant.size != 1:
            raise self.refuse(f"{name}: expected one number that is known")
        return float(constant.reshape(()))

    def axis(self, rank: int, default: int) -> int:
        """The attribute `axis`, from 0."""
        axis = self.integer("axis", default)
        if not -rank <= axis < rank:
            raise self.refuse(f"axis: expected one of {rank}, got {axis}")
        return axis % rank


def as_tensor(given: torch.Tensor | Sizes) -> torch.Tensor:
    """A tensor as it is; sizes as one, where they are known."""
    return given.tensor() if isinstance(given, Sizes) else given


__all__ = ["Number", "OnnxCall", "as_tensor"]
