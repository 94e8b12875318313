"""Values: what is known of what flows between nodes before a number is computed."""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import prod

import torch

MAX_NUMEL = 1 << 22
"""Numbers of one value at one time step: beyond it a graph is a mistake, not a model."""


class DType(StrEnum):
    """What a value's numbers are."""

    FLOAT32 = "float32"
    INT64 = "int64"
    BOOL = "bool"
    """Of comparisons; neither an input nor an output."""

    @property
    def torch(self) -> torch.dtype:
        """The same, as torch has it."""
        return {"float32": torch.float32, "int64": torch.int64, "bool": torch.bool}[self.value]


class Per(StrEnum):
    """What there is one of for each ..."""

    STEP = "step"
    """A time step of a row: [N, *features], packed."""
    ROW = "row"
    """A row: [B, *features]. Context, and in whole graphs what is left of a row's steps."""
    MODEL = "model"
    """A model: [*features]. Constants, and what is computed of them."""


@dataclass(frozen=True)
class Value:
    """A value's shape and numbers, and what there is one of it for."""

    features: tuple[int, ...]
    dtype: DType = DType.FLOAT32
    per: Per = Per.STEP
    bound: int | None = None
    """Of int64 ids that are proven to be in [0, bound)."""

    @property
    def numel(self) -> int:
        """Numbers of one of it."""
        return prod(self.features)

    @property
    def has_batch(self) -> bool:
        """Whether the tensor has an axis before the features."""
        return self.per is not Per.MODEL

    def with_features(self, *features: int) -> "Value":
        """The same numbers, or some of them, in other features."""
        return replace(self, features=features)

    def of(self, dtype: DType) -> "Value":
        """Other numbers, of another dtype."""
        return Value(self.features, dtype, self.per)

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.features)} per {self.per}"
