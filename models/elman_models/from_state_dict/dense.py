"""A matrix beside the recurrent stack, and perhaps its bias: an embedding or a linear layer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from elman_models.from_state_dict.listed import comes_before

_EMBEDDING_WORDS = re.compile(r"emb|encoder|lookup|wte", re.IGNORECASE)
_WORDS_WITHOUT_GLU = re.compile(r"emb|coder|lookup|wte|head|out|classif|logit", re.IGNORECASE)
_HEAD_WORDS = re.compile(r"fc|head|linear|decoder|out|dense|classif|proj|logit", re.IGNORECASE)


@dataclass(frozen=True)
class Dense:
    """A matrix and perhaps its bias."""

    prefix: str
    """The attribute in the user's module."""
    shape: tuple[int, ...]
    bias_shape: tuple[int, ...] | None
    comes_first: bool | None
    """Whether it is defined before the stack; None where the file's order does not tell."""
    memory: tuple[int, ...]
    """Where the matrix lies: equal for tied ones."""
    place: int = 0
    """Among the tensors in the file's order."""

    @property
    def names(self) -> list[str]:
        """Its tensors in the state_dict: weight, then bias."""
        kinds = ("weight",) if self.bias_shape is None else ("weight", "bias")
        return [f"{self.prefix}.{kind}" if self.prefix else kind for kind in kinds]

    @property
    def is_layer(self) -> bool:
        """Whether the shapes are those of a linear layer."""
        return len(self.shape) == 2 and self.bias_shape in (None, self.shape[:1])

    @property
    def is_table(self) -> bool:
        """Whether the shapes are those of an embedding, which has no bias."""
        return len(self.shape) == 2 and self.bias_shape is None

    @property
    def said(self) -> str | None:
        """What its name says: "embedding", "head", or None for neither. The innermost component that says anything
        counts: `decoder.embedding` is an embedding, `decoder.0` a head."""
        for component in reversed(self.prefix.split(".")):
            embedding, head = _EMBEDDING_WORDS.search(component), _HEAD_WORDS.search(component)
            if embedding or head:
                return None if embedding and head else "embedding" if embedding else "head"
        return None

    def may_precede(self, other: "Dense") -> bool:
        """Whether `other` may follow: it stands later in the same list, or is defined later, as far as can be told."""
        by_number = comes_before(self.prefix, other.prefix)
        if by_number is not None:
            return by_number
        is_known = self.comes_first is not None and other.comes_first is not None
        return not is_known or self.place < other.place

    def feeds(self, size: int) -> bool:
        """Whether a layer of that many inputs may follow: as many outputs; or twice as many, which a GLU halves, if it
        is not called something that has none."""
        own = next((part for part in reversed(self.prefix.split(".")) if not part.isdigit()), "")
        return self.shape[0] == size or (self.shape[0] == 2 * size and not _WORDS_WITHOUT_GLU.search(own))

    def describe(self) -> str:
        """Name and shape, for errors."""
        return f"{self.names[0]} {list(self.shape)}"


def find_denses(rest: Mapping[str, torch.Tensor], first: Mapping[str, bool | None]) -> list[Dense]:
    """The matrices among `rest`, the tensors beside the stack.

    Args:
        rest: by name.
        first: whether each stands before the stack; None where neither order nor number tells.
    """
    denses = []
    for place, (name, tensor) in enumerate(rest.items()):
        prefix, _, kind = name.rpartition(".")
        if kind == "weight":
            bias = rest.get(f"{prefix}.bias" if prefix else "bias")
            bias_shape = None if bias is None else tuple(bias.shape)
            denses.append(Dense(prefix, tuple(tensor.shape), bias_shape, first[name], _memory(tensor), place))
    return denses


def _memory(tensor: torch.Tensor) -> tuple[int, ...]:
    if tensor.layout is not torch.strided or tensor.is_meta or not tensor.numel():
        return (id(tensor),)  # no address to compare
    return (tensor.data_ptr(), *tensor.shape, *tensor.stride())
