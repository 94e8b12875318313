"""What comes back from a step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from elman._shared.info import ModelInfo
from elman.wire import Array


class State(Mapping[str, Array]):
    """The state of one session, of a pool's rows or of inferred sequences: tensors by the names of `ModelInfo.states`.

    Each is [batch, *features], or [layers, batch, *features] of a stack; batch is 1 for a session.
    """

    def __init__(self, tensors: Mapping[str, Array], position: int | tuple[int, ...], *, is_stack: bool) -> None:
        """`is_stack`: whether they are one stack's, h and, of an LSTM, c."""
        self._tensors = dict(tensors)
        self._is_stack = is_stack
        self.model: tuple[str, str] | None = None
        """Name and version of the model that gave it; None: it was put together by hand."""
        self.position = position
        """Time steps consumed: one number for a session, one per row otherwise."""

    @classmethod
    def of(cls, info: ModelInfo, arrays: Sequence[Array], position: int | tuple[int, ...]) -> State:
        """Of a model's states in their order, with rows as the second axis."""
        pairs = zip(info.states, arrays, strict=False)
        tensors = {one.name: array if one.layers else array[0] for one, array in pairs}
        state = cls(tensors, position, is_stack=info.has_stack_state)
        state.model = info.name, info.version
        return state

    @property
    def h_n(self) -> Array:
        """[num_layers x directions, batch, proj_size or hidden_size]. AttributeError where the state is not
        one stack's."""
        return self._of_stack("h_n")[0]

    @property
    def c_n(self) -> Array | None:
        """[num_layers x directions, batch, hidden_size]; None unless the cell is an LSTM. Raises as `h_n`."""
        stack = self._of_stack("c_n")
        return stack[1] if len(stack) > 1 else None

    def _of_stack(self, name: str) -> list[Array]:
        if not self._is_stack:
            names = ", ".join(map(repr, self._tensors)) or "none"
            raise AttributeError(f"{name}: the state of this model is not one stack's; its tensors by name: {names}")
        return list(self._tensors.values())

    def __getitem__(self, name: str) -> Array:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in self._tensors.items())
        return f"<elman.State {shapes or 'empty'}, position {self.position}>"


OutputT = TypeVar("OutputT")


class StepResult(NamedTuple, Generic[OutputT]):
    """The output of a step, as the step returns it without `state`, and the state after it."""

    output: OutputT
    state: State
