"""What is known of a tensor while a module is read: which of its axes is the batch, which is time, what is left."""

from dataclasses import dataclass, replace
from enum import StrEnum

import torch

from elman_models.graph.value import DType, Per, Value


class Role(StrEnum):
    """What an axis is."""

    BATCH = "batch"
    TIME = "time"
    BATCH_TIME = "batch x time"
    """Both in one axis: the first row's steps, then the second's."""
    TIME_BATCH = "time x batch"
    """Both in one axis: step 0 of every row, then step 1."""
    FEATURE = "features"
    UNIT = "one"
    """An axis of 1 that is in no value of the graph."""


DYNAMIC = frozenset({Role.BATCH, Role.TIME, Role.BATCH_TIME, Role.TIME_BATCH})


@dataclass(frozen=True)
class Traced:
    """A tensor of the module as a value of the graph. Its features are the axes with the role FEATURE, in order."""

    value: Value
    roles: tuple[Role, ...]
    reference: str = ""
    """Of the graph's value; empty: a constant."""
    constant: torch.Tensor | None = None
    """[*features]."""
    tensor_name: str = ""
    """A constant's name in the file, where it is a parameter or buffer of the module."""
    last_only: bool = False
    """Whether the last step alone is meant, of a value that there is for each."""
    before: int = 0
    """Steps of zeros that stand before the first and are no part of the value yet."""
    after: int = 0
    """The same after the last."""
    surplus: int = 0
    """Steps after the last that a convolution made of such zeros, to be taken away again."""
    end_of: str = ""
    """`h_n` or `c_n`, which a streaming graph has only as its state; `reference` is the recurrence."""

    @property
    def features(self) -> tuple[int, ...]:
        """Sizes of the axes with the role FEATURE."""
        return self.value.features

    @property
    def dtype(self) -> DType:
        """Of its numbers."""
        return self.value.dtype

    @property
    def has_time(self) -> bool:
        """Whether one of its axes is time, or holds it."""
        return bool(DYNAMIC.difference({Role.BATCH}).intersection(self.roles))

    @property
    def is_settled(self) -> bool:
        """Whether it is a value as it stands."""
        return not (self.before or self.after or self.surplus or self.end_of)

    def feature_index(self, axis: int) -> int:
        """Which of the features the tensor's axis is; or before which a new one there would be."""
        return sum(role is Role.FEATURE for role in self.roles[:axis])

    def size(self, axis: int) -> int:
        """Of an axis that is FEATURE or UNIT."""
        return self.features[self.feature_index(axis)] if self.roles[axis] is Role.FEATURE else 1

    def with_roles(self, *roles: Role) -> "Traced":
        """The same value, its axes read otherwise."""
        return replace(self, roles=roles)


def constant(tensor: torch.Tensor, name: str = "") -> Traced:
    """A tensor that is known."""
    value = Value(tuple(tensor.shape), dtype_of(tensor.dtype), Per.MODEL)
    return Traced(value, (Role.FEATURE,) * tensor.dim(), constant=tensor.to(value.dtype.torch), tensor_name=name)


def dtype_of(dtype: torch.dtype) -> DType:
    """The graph's for torch's."""
    if dtype is torch.bool:
        return DType.BOOL
    return DType.FLOAT32 if dtype.is_floating_point else DType.INT64
