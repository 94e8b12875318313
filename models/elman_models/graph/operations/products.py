"""Products: linear, embedding, matmul; and constants."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch.nn import functional

from elman_models.graph.operations.operation import (
    Dimension,
    Features,
    Flag,
    Operation,
    Run,
    Weight,
    broadcast,
    expect,
    expect_floats,
    expect_ids,
    joined,
)
from elman_models.graph.value import DType, Per, Value


class Linear(Operation):
    """`linear`: of the last axis of the features."""

    out_features: Dimension

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The last axis of `out_features`."""
        expect_floats(inputs[0])
        if not inputs[0].features:
            raise ValueError("features: expected at least one axis, got none")
        return (inputs[0].with_features(*inputs[0].features[:-1], self.out_features),)

    def weights(self, inputs: Sequence[Value]) -> dict[str, Weight]:
        """As `torch.nn.Linear`."""
        weight = Weight((self.out_features, inputs[0].features[-1]))
        return {"weight": weight, "bias": Weight((self.out_features,), is_optional=True)}

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        weight, bias = weights["weight"], weights.get("bias")
        return lambda x: functional.linear(x, weight, bias)


class Embedding(Operation):
    """`embedding`: a vector for each id in [0, num_embeddings), along a new last axis."""

    num_embeddings: Dimension
    embedding_dim: Dimension

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """With the new axis."""
        expect_ids(inputs[0], self.num_embeddings)
        return (inputs[0].with_features(*inputs[0].features, self.embedding_dim).of(DType.FLOAT32),)

    def weights(self, inputs: Sequence[Value]) -> dict[str, Weight]:
        """As `torch.nn.Embedding`."""
        return {"weight": Weight((self.num_embeddings, self.embedding_dim))}

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        weight = weights["weight"]
        return lambda ids: torch.embedding(weight, ids)


class Matmul(Operation):
    """`matmul`: of two values, by the rule of torch's for batches of matrices: the last two axes of the features.

    One axis of features is a vector: a row on the left, a column on the right. `transpose`: the right one's last two
    axes are exchanged, as attention has its keys.
    """

    arity: ClassVar[tuple[int, int]] = (2, 2)
    transpose: Flag = False

    def _shapes(self, inputs: Sequence[Value]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        left, right = inputs[0].features, inputs[1].features
        if not left or not right:
            raise ValueError("features: expected at least one axis of each input, got none")
        right = right if len(right) > 1 else (1, *right) if self.transpose else (*right, 1)
        left = left if len(left) > 1 else (1, *left)
        return left, (*right[:-2], right[-1], right[-2]) if self.transpose else right

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """The rows of the left, the columns of the right."""
        expect_floats(*inputs)
        left, right = self._shapes(inputs)
        expect("rows of the right input", left[-1], right[-2])
        rows, columns = inputs[0].features[-2:-1], (right[-1],) if len(inputs[1].features) > 1 else ()
        features = (*broadcast([left[:-2], right[:-2]]), *rows, *columns)
        return (Value(features, DType.FLOAT32, joined(inputs)),)

    def matrices(self, inputs: Sequence[Value]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Both inputs' features as matrices with as many axes; the right ones' not transposed yet."""
        left, right = self._shapes(inputs)
        rank = max(len(left), len(right))
        left, right = ((1,) * (rank - len(shape)) + shape for shape in (left, right))
        return left, (*right[:-2], right[-1], right[-2]) if self.transpose else right

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        left_shape, right_shape = self.matrices(inputs)
        (out,) = self.infer(inputs)
        batches = [(-1,) if value.has_batch else () for value in inputs]
        shape_l, shape_r = (*batches[0], *left_shape), (*batches[1], *right_shape)
        shape_out = (-1, *out.features) if out.has_batch else out.features
        transpose = self.transpose

        def run(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            b = b.reshape(shape_r)
            return torch.matmul(a.reshape(shape_l), b.mT if transpose else b).reshape(shape_out)

        return run


class Constant(Operation):
    """`constant`: a tensor of the file."""

    arity: ClassVar[tuple[int, int]] = (0, 0)
    features: Features = ()
    dtype: Literal[DType.FLOAT32, DType.INT64] = DType.FLOAT32

    def infer(self, inputs: Sequence[Value]) -> tuple[Value, ...]:
        """One for the model."""
        return (Value(self.features, self.dtype, Per.MODEL),)

    def weights(self, inputs: Sequence[Value]) -> dict[str, Weight]:
        """It."""
        return {"value": Weight(self.features, self.dtype)}

    def bind(self, inputs: Sequence[Value], weights: Mapping[str, torch.Tensor]) -> Run:
        """See `Operation.bind`."""
        value = weights["value"]
        return lambda: value
