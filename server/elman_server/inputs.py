"""Inputs: the data of admitted chunks, and its gathering into a batch's packed tensor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_models.layout import batch_sizes, step_offsets, steps_and_rows
from elman_server.chunks import Chunks
from elman_server.counted import Counted
from elman_server.frames import Frame
from elman_server.scheduler import Batch

I64 = NDArray[np.int64]
Array = NDArray[Any]


@dataclass(slots=True)
class Block:
    """The data of frames admitted together."""

    data: Array  # [N, *features]: the frames' packed tensors, one after the other
    offsets: I64  # where each step of each frame begins in `data`, frame after frame


class Inputs:
    """Blocks of input. Step t of a chunk lies at `offsets[at + t] + source` of its block."""

    def __init__(self, capacity: int) -> None:
        """`capacity`: most blocks at a time."""
        self._blocks: Counted[Block] = Counted(capacity)

    def add(self, data: Array, frames: Sequence[Frame], references: int) -> tuple[int, I64]:
        """Keeps the frames' `data`, one after the other.

        Returns:
            The number of the new block, and [len(frames)] where each frame's steps begin in its offsets.
        """
        if len(data) == len(frames):  # single steps of single sessions
            begins = np.arange(len(frames))
            return self._blocks.put(Block(data, begins), references), begins
        sizes = [batch_sizes(frame.lengths) for frame in frames]
        begins = step_offsets(np.array([len(s) for s in sizes]))
        return self._blocks.put(Block(data, step_offsets(np.concatenate(sizes))), references), begins

    def release(self, blocks: I64) -> None:
        """One reference less for each."""
        self._blocks.release(blocks)

    def gather(self, chunks: Chunks, batch: Batch) -> Array:
        """[batch.num_steps, *features] the batch's input, without a copy where a block is the batch."""
        first = chunks.at[batch.numbers] + batch.starts
        source = chunks.source[batch.numbers]
        blocks = chunks.block[batch.numbers]
        steps, rows = _elements(batch)
        if blocks.min() == blocks.max():
            return _pick(self._blocks[int(blocks[0])], first[rows] + steps, source[rows])
        return self._gather_many(blocks[rows], first[rows] + steps, source[rows])

    def _gather_many(self, blocks: I64, at: I64, source: I64) -> Array:
        parts = [(mine := np.flatnonzero(blocks == b), self._blocks[b]) for b in np.unique(blocks).tolist()]
        shape = (len(blocks), *parts[0][1].data.shape[1:])
        out = np.empty(shape, parts[0][1].data.dtype)
        for mine, block in parts:
            out[mine] = block.data[block.offsets[at[mine]] + source[mine]]
        return out


def _elements(batch: Batch) -> tuple[I64, I64]:
    if len(batch.sizes) == 1:
        return np.zeros(1, np.int64), np.arange(len(batch.numbers))
    return steps_and_rows(batch.sizes)


def _pick(block: Block, at: I64, source: I64) -> Array:
    index = block.offsets[at] + source
    if len(index) == len(block.data) and (index == np.arange(len(index))).all():
        # torch warns of memory that it must not write to, such as a message's.
        return block.data if block.data.flags.writeable else block.data.copy()
    picked: Array = block.data[index]
    return picked
