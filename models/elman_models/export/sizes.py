"""Sizes of exported tensors: numbers, and expressions of the sizes that stay open."""

from typing import TypeAlias

import sympy
import torch
from torch.fx import Node

Size: TypeAlias = int | sympy.Expr


def size_of(size: object) -> Size:
    """One axis: a number, or an expression of symbols."""
    if isinstance(size, torch.SymInt):
        expression = size.node.expr
        return int(expression) if expression.is_number else expression
    return int(size)  # type: ignore[call-overload]


def shape_of(node: object) -> tuple[Size, ...]:
    """Of a node that is one tensor."""
    if not isinstance(node, Node):
        raise TypeError(f"expected a node, got {type(node).__name__}")
    return tuple(size_of(size) for size in node.meta["val"].shape)
