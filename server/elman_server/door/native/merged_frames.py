"""Merged frames: frames of one row each that came together, as one frame of the engine's."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from elman.v1 import tensor_pb2
from elman_server.door.elman_v1.read import MAX_ANSWER_BYTES
from elman_server.door.native.row_columns import Sizes, are_alike
from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame, Want
from elman_server.exchange.model_view import F32, ModelView
from elman_server.exchange.served import ServedModel

if TYPE_CHECKING:
    from elman_native import FrameBatch

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]
Flags = NDArray[np.bool_]


@dataclass(slots=True, eq=False)
class MergedFrame(Frame):
    """One frame of the engine's, made of K frames of one row; K entries in each column."""

    columns: "Columns" = field(kw_only=True)

    @property
    def owners(self) -> U64:
        """[K] the call of each row."""
        return self.columns.calls

    @property
    def deadlines(self) -> F64:
        """[K] each row's deadline."""
        return self.columns.deadlines


class Columns(NamedTuple):
    """Of the K frames that are one; K entries each."""

    calls: U64
    callers: I64
    frame_ids: U64
    deadlines: F64
    """Seconds on the engine's clock."""
    is_open: Flags
    """Whose answer is not whole yet."""
    row_bytes: int
    """Of one row's input."""


class Kind(NamedTuple):
    """What frames that go together have in common."""

    model: int
    length: int
    return_output: int
    return_state: int


def has_room(kind: Kind, worker: ServedModel) -> bool:
    """Whether one message holds an answer."""
    view, limits = worker.runtime.view, worker.runtime.limits
    want, states = want_of(kind), view.state_bytes if kind.return_state else 0
    steps = 0 if want is Want.NONE else 1 if want is Want.LAST else min(kind.length, limits.max_slice)
    return steps * view.output.num_bytes + states <= MAX_ANSWER_BYTES


def fits_columns(kind: Kind, view: ModelView) -> bool:
    """Whether what is asked and answered has the columns' shape: one input, one output of floats, and h_n and c_n."""
    if not (view.input.is_plain and view.output.is_plain):
        return False
    takes, gives = view.input.fields[0], view.output.fields[0]
    is_flat = len(takes.features) <= 1 and len(gives.features) == 1 and gives.dtype == F32
    return is_flat and (view.has_stack_state or not kind.return_state)


def want_of(kind: Kind) -> Want:
    return Want(kind.return_output or tensor_pb2.RETURN_ALL)


def groups(columns: dict[str, NDArray[Any]], models: I64) -> Iterator[tuple[I64, Kind]]:
    """The frames that go together: of one model, length and answer. Those of one session stay in their order."""
    parts = (models, columns["length"], columns["return_output"], columns["return_state"])
    if are_alike(*parts):
        yield np.arange(len(models)), Kind(*[int(part[0]) for part in parts])
        return
    keys = [Kind(*key) for key in zip(*[part.tolist() for part in parts], strict=True)]
    for turn in _order(columns["handle"]):
        rows: dict[Kind, list[int]] = {}
        for row in turn.tolist():
            rows.setdefault(keys[row], []).append(row)
        for kind, mine in rows.items():
            yield np.array(mine), kind


def _order(handles: U64) -> Iterator[I64]:
    """Frames by how many of the same session came before: they must not overtake each other."""
    order = np.argsort(handles, kind="stable")
    same = handles[order]
    first = np.flatnonzero(np.r_[True, same[1:] != same[:-1]])
    turn = np.empty(len(handles), np.int64)
    turn[order] = np.arange(len(handles)) - np.repeat(first, np.diff(np.r_[first, len(handles)]))
    for number in range(int(turn.max()) + 1):
        yield np.flatnonzero(turn == number)


def gathered(batch: "FrameBatch", rows: I64, length: int, worker: ServedModel) -> NDArray[Any]:
    """[length * K, *features] the frames' input, packed."""
    spec = worker.runtime.view.input
    raw = np.empty((len(rows), length * spec.num_bytes), np.uint8)
    batch.gather(rows, raw)
    data = raw.view(spec.wire_layout)
    if length > 1:
        data = data.reshape(len(rows), length, *spec.features).swapaxes(0, 1)
    return data.reshape(length * len(rows), *spec.features)


def sizes_of(answer: Answer, frame: MergedFrame) -> Sizes:
    """Bytes of an answer's parts, by row."""
    output, ended = answer.output, max(1, len(answer.finished))
    step = 0 if output is None else output.shape[1] * output.itemsize
    return Sizes(step, sum([state.nbytes for state in answer.states]) // ended, frame.columns.row_bytes)
