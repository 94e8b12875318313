"""Inputs: the data of admitted chunks, and its gathering into a batch's packed tensor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_models.layout import batch_sizes, step_offsets
from elman_server.exchange.frames import Frame
from elman_server.scheduling.chunks import Chunks
from elman_server.scheduling.scheduler import Batch
from elman_server.tables.jit import jit
from elman_server.tables.ref_counts import RefCounted

I64 = NDArray[np.int64]
Array = NDArray[Any]
Table = NDArray[Any]


@dataclass(slots=True)
class Block:
    """The data of frames admitted together."""

    data: Array  # [N, *features]: the frames' packed tensors, one after the other
    offsets: I64  # where each step of each frame begins in `data`, frame after frame


class InputBlocks:
    """Blocks of input. Step t of a chunk lies at `offsets[at + t] + source` of its block."""

    def __init__(self, capacity: int) -> None:
        """`capacity`: most blocks at a time that chunks refer to."""
        self.blocks: RefCounted[Block] = RefCounted(capacity + 1)  # and one that is not yet known to be kept

    def add(self, data: Array, frames: Sequence[Frame]) -> tuple[int, I64]:
        """Takes the frames' `data`, one after the other, until `keep` says how many chunks refer to it.

        Returns:
            The number of the new block, and [len(frames)] where each frame's steps begin in its offsets.
        """
        if len(data) == len(frames):  # single steps of single sessions
            begins = np.arange(len(frames))
            return self.blocks.put(Block(data, begins), 1), begins
        sizes = [batch_sizes(frame.lengths) for frame in frames]
        begins = step_offsets(np.array([len(s) for s in sizes]))
        return self.blocks.put(Block(data, step_offsets(np.concatenate(sizes))), 1), begins

    def keep(self, block: int, references: int) -> None:
        """Keeps a new block for as long as so many chunks refer to it."""
        self.blocks.release(block, 1 - references)

    def gather(self, chunks: Chunks, batch: Batch) -> Array:
        """[batch.num_steps, *features] the batch's input, without a copy where a block is the batch."""
        numbers = _distinct(batch.numbers, chunks.table)
        first = self.blocks[int(numbers[0])]
        out = np.empty((batch.num_steps, *first.data.shape[1:]), first.data.dtype) if len(numbers) > 1 else None
        for number in numbers.tolist():
            block = self.blocks[number]
            where, index, in_order = _locate(
                number, block.offsets, batch.numbers, batch.starts, batch.takes, batch.offsets, chunks.table
            )
            if out is None:
                return _pick(block.data, index, in_order)
            out[where] = block.data[index]
        return out  # type: ignore[return-value]


def _pick(data: Array, index: I64, in_order: bool) -> Array:
    if in_order and len(index) == len(data):
        # torch warns of memory that it must not write to, such as a message's.
        return data if data.flags.writeable else data.copy()
    picked: Array = data[index]
    return picked


@jit
def _distinct(numbers: I64, chunks: Table) -> I64:
    """The blocks of chunks, each once."""
    blocks, count = np.empty(len(numbers), np.int64), 0
    for number in numbers:
        block = chunks[number].block
        if not count or (block != blocks[count - 1] and not (blocks[:count] == block).any()):
            blocks[count] = block
            count += 1
    return blocks[:count]


@jit
def _locate(
    block: int, block_offsets: I64, numbers: I64, starts: I64, takes: I64, offsets: I64, chunks: Table
) -> tuple[I64, I64, bool]:
    """Which elements of the batch's packed tensor come from a block: where they go, where they lie in it, and whether
    both are from 0 on, in order."""
    total = takes.sum()
    where, index, count = np.empty(total, np.int64), np.empty(total, np.int64), 0
    in_order = True
    for t in range(len(offsets)):
        for i, number in enumerate(numbers):
            if takes[i] <= t:
                break
            chunk = chunks[number]
            if chunk.block == block:
                where[count] = offsets[t] + i
                index[count] = block_offsets[chunk.at + starts[i] + t] + chunk.source
                in_order = in_order and index[count] == count
                count += 1
    return where[:count], index[:count], in_order
