"""A loaded model as the engine runs it, whatever it is made of."""

from collections.abc import Mapping, Sequence
from typing import Protocol, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray

from elman_models.graph.inputs import PackedInputs
from elman_models.graph.stack import GraphStack
from elman_models.graph.state import GraphPool, GraphState
from elman_models.layout import step_offsets
from elman_models.packed import Packed
from elman_models.slots import Slots
from elman_models.stack import Stack
from elman_models.state import State, StatePool
from elman_server.exchange.model_view import ModelView, TensorField
from elman_server.models.view import view_of

Sizes = NDArray[np.int64]
Tensors = Sequence[torch.Tensor]
Named = Mapping[str, torch.Tensor]


class RowsState(Protocol):
    """What some rows carry from one step to the next, and their context, if they have it here."""

    @property
    def tensors(self) -> tuple[torch.Tensor, ...]:
        """[B, *features] or [layers, B, *features]: the states, then the context."""
        ...

    def repeated(self, count: int) -> Self:
        """That of one row, for so many."""
        ...

    def rows(self, indices: Sequence[int]) -> Self:
        """Those of some, one or several times each."""
        ...

    def row(self, index: int) -> Self:
        """A copy of one row's."""
        ...


class Pool(Protocol):
    """The state and context of every slot; see `GraphPool`."""

    num_slots: int

    @property
    def slot_bytes(self) -> int:
        """Of one slot."""
        ...

    def read(self, slots: Slots) -> RowsState:
        """A copy of some slots'."""
        ...

    def replace(self, slots: Slots, state: RowsState) -> None:
        """Writes them; a context that `state` has not stays."""
        ...

    def reset(self, slots: Slots, context: Named | None = None) -> None:
        """Puts them at the state before the first step."""
        ...


class Model(Protocol):
    """One signature for both formats: `step(inputs, sizes, state) -> (outputs, state)`."""

    view: ModelView

    def pool(self, num_slots: int) -> Pool:
        """For its states."""
        ...

    def initial(self, states: Tensors, context: Named) -> RowsState:
        """The state of rows that begin with `states`, in the view's order as in `TensorField.seam_shape`."""
        ...

    def step(
        self, inputs: Tensors, sizes: Sizes, state: RowsState, *, outputs: int, last_only: bool, with_state: bool
    ) -> tuple[list[torch.Tensor], RowsState]:
        """Advances every row by its part of the inputs.

        Args:
            inputs: of each of the view's inputs [N, *features] packed, on the model's device; ids are in range.
            sizes: [seq_len] rows that have step t.
            state: of the rows, in the inputs' order, with their context.
            outputs: which of the view's are wanted, as bits; what none of them needs need not be computed.
            last_only: each row's last step alone.
            with_state: whether the state is wanted; it always is of a model that can be fed parts of a sequence.

        Returns:
            Of each output that is wanted [N, *features], or of the last steps [B, *features]; an output of whole rows
            [N, *features] has its numbers at their last steps. And the state after each row's last step, if it is
            wanted.
        """
        ...


def model_of(stack: Stack | GraphStack) -> Model:
    """A loaded stack, or a graph, for the engine."""
    return StackModel(stack) if isinstance(stack, Stack) else GraphModel(stack)


def seam_tensors(fields: Sequence[TensorField], tensors: Tensors) -> list[torch.Tensor]:
    """States with their rows as the second axis, whatever they are."""
    return [t if one.layers else t.unsqueeze(0) for one, t in zip(fields, tensors, strict=False)]


class StackModel:
    """Format 1: embedding, stack, head."""

    def __init__(self, stack: Stack) -> None:
        self.view = view_of(stack.spec)
        self._stack = stack

    def pool(self, num_slots: int) -> Pool:
        """See `Model`."""
        return cast(Pool, StatePool(self._stack.spec, num_slots, self._stack.device))

    def initial(self, states: Tensors, context: Named) -> RowsState:
        """See `Model`."""
        h, *c = (one.to(self._stack.device) for one in states)
        return State(h, c[0] if c else None)

    def step(
        self, inputs: Tensors, sizes: Sizes, state: RowsState, *, outputs: int, last_only: bool, with_state: bool
    ) -> tuple[list[torch.Tensor], RowsState]:
        """See `Model`."""
        output, after = self._stack.step(Packed(inputs[0], sizes), cast(State, state), last_only=last_only)
        return [output], after


class GraphModel:
    """Format 2: a graph."""

    def __init__(self, stack: GraphStack) -> None:
        self.view = view_of(stack.spec)
        self._stack = stack
        self._wanted: dict[int, tuple[str, ...]] = {}  # names of outputs, by their bits

    def pool(self, num_slots: int) -> Pool:
        """See `Model`."""
        pool: GraphPool = self._stack.pool(num_slots)
        return cast(Pool, pool)

    def initial(self, states: Tensors, context: Named) -> RowsState:
        """See `Model`."""
        own = [one if f.layers else one.squeeze(0) for f, one in zip(self.view.states, states, strict=True)]
        tensors = [one.to(self._stack.device) for one in (*own, *(context[f.name] for f in self.view.context))]
        return GraphState(self._stack.layout, tuple(tensors))

    def step(
        self, inputs: Tensors, sizes: Sizes, state: RowsState, *, outputs: int, last_only: bool, with_state: bool
    ) -> tuple[list[torch.Tensor], RowsState]:
        """See `Model`."""
        packed = PackedInputs(tuple(inputs), sizes)
        names = self._names(outputs)
        given, after = self._stack.step(
            packed, cast(GraphState, state), outputs=names, last_only=last_only, with_state=with_state
        )
        if self.view.per_row_outputs & outputs and not last_only:
            self._put_at_last_steps(given, sizes)
        count = int(sizes[0] if last_only else sizes.sum())
        for name in names:
            if len(given[name]) != count:  # the batch fails, not the engine that would cut it
                raise RuntimeError(f"output {name!r}: expected {count} steps, the graph gave {len(given[name])}")
        return [given[name] for name in names], after

    def _names(self, outputs: int) -> tuple[str, ...]:
        if outputs not in self._wanted:
            self._wanted[outputs] = tuple(n for i, n in enumerate(self.view.output.names) if outputs >> i & 1)
        return self._wanted[outputs]

    def _put_at_last_steps(self, given: dict[str, torch.Tensor], sizes: Sizes) -> None:
        rows = np.arange(sizes[0])
        last = (sizes[:, None] > rows).sum(axis=0) - 1  # [B] each row's last step
        index = torch.from_numpy(step_offsets(sizes)[last] + rows).to(self._stack.device)
        for field in self.view.output.fields:
            if field.per_row and field.name in given:
                of_rows = given[field.name]
                given[field.name] = of_rows.new_zeros((int(sizes.sum()), *of_rows.shape[1:]))
                given[field.name].index_copy_(0, index, of_rows)
