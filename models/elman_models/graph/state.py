"""A session's state as named tensors, its context with it; and the pool of all sessions'."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from elman_models.graph.spec import GraphSpec
from elman_models.graph.value import DType
from elman_models.slots import SlotIndex, Slots, SlotTensor


@dataclass(frozen=True)
class StateColumn:
    """One named tensor of a state."""

    name: str
    features: tuple[int, ...]
    layers: int | None
    """Of the axis before that of rows; None: there is none."""
    dtype: DType

    @property
    def axis(self) -> int:
        """That of rows."""
        return 0 if self.layers is None else 1

    def shape(self, batch: int) -> tuple[int, ...]:
        """[batch, *features] or [layers, batch, *features]."""
        return (batch, *self.features) if self.layers is None else (self.layers, batch, *self.features)


@dataclass(frozen=True)
class StateLayout:
    """Which tensors a model's state has: what it carries, then its context."""

    columns: tuple[StateColumn, ...]
    num_states: int
    """The first columns; the others are context."""

    @classmethod
    def of(cls, spec: GraphSpec) -> "StateLayout":
        """A graph's."""
        states = [StateColumn(s.name, s.features, s.layers, DType(s.dtype)) for s in spec.states]
        context = [StateColumn(c.name, c.features, None, DType(c.dtype)) for c in spec.context]
        return cls((*states, *context), len(states))

    @property
    def names(self) -> tuple[str, ...]:
        """Of all columns."""
        return tuple(column.name for column in self.columns)


class GraphState(Mapping[str, torch.Tensor]):
    """What some rows carry from one step to the next, by name: [B, *features], or [layers, B, *features]."""

    __slots__ = ("layout", "tensors")

    def __init__(self, layout: StateLayout, tensors: tuple[torch.Tensor, ...]) -> None:
        """`tensors`: of the layout's columns, in their order; or of its states alone, without the context."""
        self.layout = layout
        self.tensors = tensors

    @classmethod
    def named(cls, layout: StateLayout, tensors: Mapping[str, torch.Tensor]) -> "GraphState":
        """Of tensors by name.

        Raises:
            ValueError: one is missing, or unknown.
        """
        given, wanted = set(tensors), set(layout.names)
        if given != wanted:
            expected = ", ".join(layout.names) or "nothing"
            raise ValueError(f"state: expected {expected}, got {', '.join(tensors) or 'nothing'}")
        return cls(layout, tuple(tensors[name] for name in layout.names))

    def __getitem__(self, name: str) -> torch.Tensor:
        for column, tensor in zip(self.layout.columns, self.tensors, strict=False):
            if column.name == name:
                return tensor
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.names[: len(self.tensors)])

    def __len__(self) -> int:
        return len(self.tensors)

    def repeated(self, count: int) -> "GraphState":
        """That of one row, for so many."""
        pairs = zip(self.layout.columns, self.tensors, strict=False)
        return GraphState(self.layout, tuple(t.repeat_interleave(count, dim=column.axis) for column, t in pairs))

    def rows(self, indices: Sequence[int]) -> "GraphState":
        """Those of some rows, one or several times each."""
        index = torch.tensor(indices)
        pairs = zip(self.layout.columns, self.tensors, strict=False)
        return GraphState(self.layout, tuple(t.index_select(column.axis, index.to(t.device)) for column, t in pairs))

    def part(self, rows: slice) -> "GraphState":
        """Those of some rows that stand together; nothing is copied."""
        pairs = zip(self.layout.columns, self.tensors, strict=False)
        count = rows.stop - rows.start
        return GraphState(self.layout, tuple(t.narrow(column.axis, rows.start, count) for column, t in pairs))

    @staticmethod
    def joined(parts: Sequence["GraphState"]) -> "GraphState":
        """One or several, one after another."""
        columns = zip(parts[0].layout.columns, zip(*(part.tensors for part in parts), strict=True), strict=False)
        return GraphState(parts[0].layout, tuple(torch.cat(tensors, column.axis) for column, tensors in columns))

    def row(self, index: int) -> "GraphState":
        """A copy of one row's state."""
        pairs = zip(self.layout.columns, self.tensors, strict=False)
        return GraphState(self.layout, tuple(tensor.narrow(column.axis, index, 1).clone() for column, tensor in pairs))


class GraphPool:
    """The state and context of every slot, on the model's device. Three verbs: read, replace, reset."""

    def __init__(
        self,
        layout: StateLayout,
        num_slots: int,
        device: torch.device,
        initial: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """Allocates the pool; its slots hold anything until `reset` or `replace`.

        Args:
            layout: what a slot holds.
            num_slots: at least 1.
            device: of the tensors.
            initial: by a state's name what it begins with, without the axis of rows; others begin with zeros.

        Raises:
            ValueError: no slots.
        """
        self._index = SlotIndex(num_slots, device)
        self._layout = layout
        self.num_slots = num_slots
        initial = initial or {}
        self._tensors = [
            SlotTensor(c.name, c.layers, c.features, num_slots, device, c.dtype.torch, initial.get(c.name))
            for c in layout.columns
        ]

    @property
    def slot_bytes(self) -> int:
        """Bytes of one slot's state and context."""
        return sum(one.tensor.nbytes for one in self._tensors) // self.num_slots

    def read(self, slots: Slots) -> GraphState:
        """A copy of the state and context of `slots`, in their order.

        Raises:
            ValueError: a slot stands twice or is outside the pool; so too for the other verbs.
        """
        index = self._index.of(slots)
        return GraphState(self._layout, tuple([one.read(index) for one in self._tensors]))

    def replace(self, slots: Slots, state: GraphState) -> None:
        """Writes `state`, of as many rows; a context that it has not, as a step gives it, stays.

        Tensors on another device or of another dtype are converted.

        Raises:
            ValueError: also if a tensor is missing or has another shape; nothing is written.
        """
        index, given = self._index.of(slots), state.tensors
        if len(given) not in (self._layout.num_states, len(self._tensors)):
            raise ValueError(f"state: expected {', '.join(self._layout.names)}, got {len(given)} tensors")
        for one, tensor in zip(self._tensors, given, strict=False):
            one.check(tensor, len(slots))
        for one, tensor in zip(self._tensors, given, strict=False):
            one.write(index, tensor)

    def reset(self, slots: Slots, context: Mapping[str, torch.Tensor] | None = None) -> None:
        """Puts `slots` at the state before the first step.

        Args:
            slots: which.
            context: by name [B, *features]; None: what the slots have stays, which is for sessions that begin anew.

        Raises:
            ValueError: also if a context is missing, unknown, or of another shape; nothing is written.
        """
        index, states = self._index.of(slots), self._layout.num_states
        columns = self._tensors[states:]
        if context is not None:
            self._check_context(columns, context, len(slots))
        for one in self._tensors[:states]:
            one.reset(index)
        for one in columns if context is not None else ():
            one.write(index, (context or {})[one.name])

    def _check_context(self, columns: Sequence[SlotTensor], context: Mapping[str, torch.Tensor], batch: int) -> None:
        names = [one.name for one in columns]
        if set(context) != set(names):
            raise ValueError(
                f"context: expected {', '.join(names) or 'nothing'}, got {', '.join(context) or 'nothing'}"
            )
        for one in columns:
            one.check(context[one.name], batch)
