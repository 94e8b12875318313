"""Inputs: the data of admitted chunks, and its gathering into a batch's packed tensor."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        self.blocks: RefCounted[Block] = RefCounted(capacity)

    def gather(self, chunks: Chunks, batch: Batch) -> Array:
        """[batch.num_steps, *features] the batch's input, without a copy where a block is the batch."""
        if batch.block >= 0:
            _, data, index, in_order = self._located(batch.block, chunks, batch)
            if not (in_order and len(index) == len(data)):
                picked: Array = data[index]
                return picked
            # torch warns of memory that it must not write to, such as a message's.
            return data if data.flags.writeable else data.copy()
        numbers = np.unique(chunks["block"][batch.numbers]).tolist()
        first = self.blocks[numbers[0]].data
        out = np.empty((batch.num_steps, *first.shape[1:]), first.dtype)
        for number in numbers:
            where, data, index, _ = self._located(number, chunks, batch)
            out[where] = data[index]
        return out

    def _located(self, number: int, chunks: Chunks, batch: Batch) -> tuple[I64, Array, I64, bool]:
        # Where the block's part of the batch goes, the block's data, where that part lies in it, and whether both are
        # from 0 on, in order.
        block = self.blocks[number]
        where, index, in_order = _locate(
            number, block.offsets, batch.numbers, batch.starts, batch.takes, batch.offsets, chunks.table
        )
        return where, block.data, index, in_order


@jit
def block_offsets(lengths: I64, ends: I64) -> tuple[I64, I64]:
    """For a block of the data of frames, whose rows end before `ends` [F] in `lengths` [R]: where each step of each
    frame begins in it, frame after frame, and [F] where each frame's steps begin in that."""
    begins, total, first = np.empty(len(ends), np.int64), 0, 0
    for f, end in enumerate(ends):
        begins[f] = total
        total += lengths[first]  # the longest
        first = end
    offsets, at, row, step = np.empty(total, np.int64), 0, 0, 0
    for end in ends:
        size = end - row
        for t in range(lengths[row]):
            while lengths[row + size - 1] <= t:
                size -= 1
            offsets[step] = at
            at += size
            step += 1
        row = end
    return offsets, begins


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
