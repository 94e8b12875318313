"""What a module is given: inputs of each step, context of a session, states."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.fx import Node

from elman_models.export.builder import Builder
from elman_models.export.capture import Capture
from elman_models.export.refusals import ExportError
from elman_models.export.sequences import operation_name
from elman_models.export.sizes import shape_of
from elman_models.export.traced import Role, Traced, dtype_of
from elman_models.graph.spec import InputSpec
from elman_models.graph.value import DType, Per, Value

_SAME = ("contiguous", "clone", "detach", "alias", "to", "_to_copy")
_VIEWS = (
    *_SAME,
    "view",
    "reshape",
    "transpose",
    "permute",
    "slice",
    "select",
    "unsqueeze",
    "squeeze",
    "expand",
    "flatten",
    "split",
    "chunk",
    "unbind",
    "getitem",
    "t",
    "unflatten",
    "narrow",
    "split_with_sizes",
    "_unsafe_view",
)


@dataclass(frozen=True)
class ModuleInput:
    """One tensor that the module takes."""

    name: str
    traced: Traced
    kind: str
    """input, context, state (declared), or initial (the state that a stack begins with)."""

    @property
    def spec(self) -> InputSpec:
        """As an input of the graph."""
        value = self.traced.value
        dtype = DType.FLOAT32 if value.dtype is DType.FLOAT32 else DType.INT64
        return InputSpec(name=self.name, dtype=dtype, features=value.features, num_embeddings=value.bound)


class Inputs:
    """All of them."""

    def __init__(self, capture: Capture, builder: Builder, states: tuple[str, ...], *, uses_cells: bool) -> None:
        self._capture = capture
        self.all: list[ModuleInput] = []
        self.traced: dict[Node, object] = {}
        self._beginning = ("state", "context") if capture.sequences.time is not None else ("state",)
        for name, node in capture.inputs.items():
            builder.names.add(name)
            one = self._input(name, node, states, is_whole=builder.is_whole or uses_cells)
            self.all.append(one)
            self.traced[node] = one.traced

    def _input(self, name: str, node: Node, states: tuple[str, ...], *, is_whole: bool) -> ModuleInput:
        roles = self._roles(name, node)
        features = tuple(int(s) for s, r in zip(shape_of(node), roles, strict=True) if r is Role.FEATURE)
        dtype = dtype_of(node.meta["val"].dtype)
        if dtype is DType.BOOL:
            raise ExportError(f"{name}: expected float or int64 inputs, got bool; give 0 and 1")
        bound = min(_embeddings(node), default=None) if dtype is DType.INT64 else None
        is_step = self._capture.sequences.time is None and name not in self._capture.context
        per = Per.STEP if Role.TIME in roles or is_step else Per.ROW
        kind = "state" if name in states else "input" if per is Per.STEP else "context"
        begins = not is_whole and kind in self._beginning and dtype is DType.FLOAT32 and _only_begins(node)
        value = Value(features, dtype, per, bound)
        if begins:
            return ModuleInput(
                name, Traced(value, roles, name, end_of="h_0"), "state" if kind == "state" else "initial"
            )
        return ModuleInput(name, Traced(value, roles, name), kind)

    def _roles(self, name: str, node: Node) -> tuple[Role, ...]:
        if not node.users:
            raise ExportError(f"{name}: nobody uses it; make the module take what it needs alone")
        sequences, shape = self._capture.sequences, shape_of(node)
        known = {sequences.batch: Role.BATCH, sequences.time: Role.TIME}
        roles = [Role.FEATURE if isinstance(size, int) else known.get(size) for size in shape]
        for size, role in zip(shape, roles, strict=True):
            if role is None:
                raise ExportError(
                    f"{name}: an axis of {size}, which is neither the batch nor the length of the sequences"
                )
        if sequences.batch is None:
            self._mark_single(shape, roles)
        elif Role.BATCH not in roles:
            raise ExportError(
                f"{name}: expected an axis for the batch, got {[str(s) for s in shape]}; its size is fixed, or "
                "the same for all rows: what is the same for all is a buffer of the module"
            )
        return tuple(role for role in roles if role is not None)

    def _mark_single(self, shape: tuple[object, ...], roles: list[Role | None]) -> None:
        """Where the module takes one sequence: the axis of 1 beside time is the batch's."""
        floats = 3
        if Role.TIME in roles and len(roles) >= floats:
            beside = 1 - roles.index(Role.TIME)
            if beside in (0, 1) and shape[beside] == 1:
                roles[beside] = Role.UNIT
        elif roles[:1] == [Role.FEATURE] and roles[1:2] == [Role.TIME] and shape[0] == 1:
            roles[0] = Role.UNIT


def _only_begins(node: Node) -> bool:
    """Whether all that a tensor is for is to be a stack's initial state."""
    users = [user for user in node.users if operation_name(user) != "sym_size"]
    return bool(users) and all(
        (operation_name(user) == "stack" and "elman_export" in str(user.target) and node in user.args[1])  # type: ignore[operator]
        or (operation_name(user) in _SAME and _only_begins(user))
        for user in users
    )


def _embeddings(node: Node) -> Iterator[int]:
    """The sizes of the tables that ids go to."""
    for user in node.users:
        name = operation_name(user) or getattr(user.target, "__name__", "")
        if name == "embedding" and isinstance(user.args[0], Node):
            table = user.args[0].meta["val"]
            if isinstance(table, torch.Tensor) and user.args[1] is node:
                yield int(table.shape[0])
        elif name == "gather" and user.args[2] is node:
            yield from _gathered(user)
        elif name == "one_hot" and len(user.args) > 1 and isinstance(user.args[1], int):
            yield user.args[1]
        elif name == "broadcast_tensors":
            yield from _broadcast(user, node)
        elif name in _VIEWS:
            yield from _embeddings(user)


def _broadcast(user: Node, node: Node) -> Iterator[int]:
    """Of what was broadcast with others, as the ids that a distribution is asked for are."""
    given = user.args[0]
    for part in user.users:
        if isinstance(given, list | tuple) and given[part.args[1]] is node:  # type: ignore[index]
            yield from _embeddings(part)


def _gathered(user: Node) -> Iterator[int]:
    """Of how many one is picked."""
    shape, axis = shape_of(user.args[0]), user.args[1]
    size = shape[axis] if isinstance(axis, int) else None
    if isinstance(size, int):
        yield size
