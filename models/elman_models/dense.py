"""The embedding and the head in a state_dict: what is left beside the recurrent stack, told apart by shape and name."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from elman_models.errors import WeightsError

NONE = "none"
"""As a key: the model has no such part."""

_EMBEDDING_WORDS = re.compile(r"emb|encoder|lookup|wte", re.IGNORECASE)
_HEAD_WORDS = re.compile(r"fc|head|linear|decoder|out|dense|classif|proj|logit", re.IGNORECASE)


@dataclass(frozen=True)
class Dense:
    """A matrix and perhaps its bias: an embedding or a linear layer."""

    prefix: str
    shape: tuple[int, ...]
    bias_shape: tuple[int, ...] | None

    @property
    def names(self) -> list[str]:
        """Its tensors in the state_dict: weight, then bias."""
        kinds = ("weight",) if self.bias_shape is None else ("weight", "bias")
        return [f"{self.prefix}.{kind}" if self.prefix else kind for kind in kinds]

    def can_embed(self, input_size: int) -> bool:
        """A table whose vectors are the stack's input, and which is not called a head."""
        return self._is_matrix(input_size) and self.bias_shape is None and self._said() != "head"

    def can_be_head(self, stack_output_size: int) -> bool:
        """A layer whose input is the stack's output, and which is not called an embedding (one has no bias)."""
        if not self._is_matrix(stack_output_size):
            return False
        return self._said() != "embedding" if self.bias_shape is None else self.bias_shape == self.shape[:1]

    def describe(self) -> str:
        """Name and shape, for errors."""
        return f"{self.names[0]} {list(self.shape)}"

    def _is_matrix(self, columns: int) -> bool:
        return len(self.shape) == 2 and self.shape[1] == columns

    def _said(self) -> str | None:
        # The innermost component that says anything: `decoder.embedding` is an embedding, `decoder.0` a head.
        for component in reversed(self.prefix.split(".")):
            embedding, head = _EMBEDDING_WORDS.search(component), _HEAD_WORDS.search(component)
            if embedding or head:
                return None if embedding and head else "embedding" if embedding else "head"
        return None


@dataclass(frozen=True)
class Parts:
    """What stands around the stack."""

    embedding: Dense | None
    head: Dense | None


@dataclass(frozen=True)
class Keys:
    """What the caller says of the parts: an attribute's name, `none`, or None to find it by shape and name."""

    embedding: str | None = None
    head: str | None = None
    only: bool = False
    """Whether every part is named, so that whatever else the file holds is another model's."""


def find_parts(rest: Mapping[str, torch.Tensor], input_size: int, stack_output_size: int, keys: Keys) -> Parts:
    """The embedding and head among `rest`, the tensors beside the stack; every tensor must find a part.

    Raises:
        WeightsError: tensors without a part, a choice that shapes and names leave open, or a key that does not fit.
    """
    denses = _denses(rest)
    embeddings = _candidates(denses, keys.embedding, "embedding_key", [d for d in denses if d.can_embed(input_size)])
    heads = _candidates(denses, keys.head, "head_key", [d for d in denses if d.can_be_head(stack_output_size)])
    _check_keyed(keys, embeddings, heads, input_size, stack_output_size)
    ways = [Parts(e, h) for e in embeddings for h in heads if (e is None or e != h)]
    whole = [way for way in ways if keys.only or _used(way) == set(rest)]
    if len(whole) == 1:
        return whole[0]
    if whole:
        raise WeightsError(_open_choice(whole))
    raise WeightsError(_leftovers(rest, embeddings, heads))


def _denses(rest: Mapping[str, torch.Tensor]) -> list[Dense]:
    denses = []
    for name, tensor in rest.items():
        prefix, _, kind = name.rpartition(".")
        if kind == "weight":
            bias = rest.get(f"{prefix}.bias" if prefix else "bias")
            denses.append(Dense(prefix, tuple(tensor.shape), None if bias is None else tuple(bias.shape)))
    return denses


def _candidates(denses: list[Dense], key: str | None, option: str, fitting: list[Dense]) -> list[Dense | None]:
    """Those that may be the part, None standing for no such part; one alone where a key says which."""
    if key is None:
        return [None, *fitting]
    if key == NONE:
        return [None]
    prefix = key.removesuffix(".weight").rstrip(".")
    named: list[Dense | None] = [d for d in denses if d.prefix == prefix]
    if not named:
        known = ", ".join(d.prefix for d in denses) or "none"
        raise WeightsError(f"{option}: there is no {prefix}.weight beside the stack; there are {known}")
    return named


def _check_keyed(
    keys: Keys, embeddings: list[Dense | None], heads: list[Dense | None], input_size: int, stack_output_size: int
) -> None:
    table, layer = embeddings[0], heads[0]  # None unless a key named them
    if table and (len(table.shape) != 2 or table.shape[1] != input_size or table.bias_shape is not None):
        raise WeightsError(f"embedding_key: expected [any, {input_size}] without a bias, got {table.describe()}")
    if layer and (len(layer.shape) != 2 or layer.shape[1] != stack_output_size):
        raise WeightsError(f"head_key: expected [any, {stack_output_size}], got {layer.describe()}")
    if layer and layer.bias_shape not in (None, layer.shape[:1]):
        raise WeightsError(f"head_key: {layer.names[1]}: expected {[layer.shape[0]]}, got {list(layer.bias_shape)}")
    if table and table == layer:
        raise WeightsError(f"embedding_key and head_key: both are {keys.embedding}")


def _used(parts: Parts) -> set[str]:
    return {name for part in (parts.embedding, parts.head) if part for name in part.names}


def _open_choice(ways: list[Parts]) -> str:
    embeddings, heads = ({_label(p) for p in part} for part in zip(*((w.embedding, w.head) for w in ways), strict=True))
    return (
        "shapes and names leave open which is the embedding and which the head; "
        f"give embedding_key (--embedding-key), one of {', '.join(sorted(embeddings))}, "
        f"or head_key (--head-key), one of {', '.join(sorted(heads))}"
    )


def _label(part: Dense | None) -> str:
    return NONE if part is None else part.prefix


def _leftovers(
    rest: Mapping[str, torch.Tensor], embeddings: Iterable[Dense | None], heads: Iterable[Dense | None]
) -> str:
    listed = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in rest.items())
    tables, layers = (", ".join(d.prefix for d in part if d) or NONE for part in (embeddings, heads))
    return (
        f"beside the recurrent stack stand {listed}; they are not one embedding and one head "
        f"(could be the embedding: {tables}; the head: {layers}). To serve a part of the file, name all of rnn_key, "
        f"embedding_key and head_key (or {NONE}): the rest is then left out"
    )
