"""Handles: opaque 64-bit numbers of attached sessions on one server process.

A handle is (model number, slot, count of attachments of the slot), enciphered as one block under a key of the process:
of two handles that differ in one bit, or in the slot alone, the numbers have nothing to do with each other. So whoever
has a handle can compute no other one, and of all 2^64 numbers only those are good that were given out. The cipher is
Speck64/128 (Beaulieu et al., 2013, eprint 2013/404), which takes ten nanoseconds for each row of a column.
"""

import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_server.tables.jit import jit

U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

SLOT_BITS = 24
COUNT_BITS = 30
MAX_SLOTS = 1 << SLOT_BITS
MAX_MODELS = 1 << (64 - SLOT_BITS - COUNT_BITS)

_COUNT_MASK = np.uint64((1 << COUNT_BITS) - 1)
_ROUNDS = 27
_KEY_WORDS = 4
_WORD_BITS = 32
_WORD_MASK = (1 << _WORD_BITS) - 1


class HandleKey:
    """The secret key of one server process."""

    def __init__(self, words: Sequence[int] | None = None) -> None:
        """`words`: four of 32 bits, the last one first, as the cipher's paper writes them; random ones by default."""
        if words is None:
            words = [secrets.randbits(_WORD_BITS) for _ in range(_KEY_WORDS)]
        self.rounds: U32 = _round_keys(words)
        """[27] the keys of the cipher's rounds, for `slots_of`."""
        self.first_count = secrets.randbits(COUNT_BITS)
        """Where the counts of attachments begin."""

    def pack(self, model: int, slots: I64, counts: I64) -> U64:
        """[n] handles; counts wrap at 2^30."""
        parts = np.full(len(slots), model << (SLOT_BITS + COUNT_BITS), np.uint64)
        parts |= slots.astype(np.uint64) << np.uint64(COUNT_BITS)
        parts |= counts.astype(np.uint64) & _COUNT_MASK
        return encipher(parts, self.rounds)

    def model(self, handle: int) -> int:
        """The model number."""
        return _model_of(np.uint64(handle), self.rounds)  # type: ignore[arg-type]  # Numba must know it unsigned

    def models(self, handles: U64) -> I64:
        """[n] the model number of each."""
        return _models_of(handles, self.rounds)


@jit
def _models_of(handles: U64, rounds: U32) -> I64:
    parts = decipher(handles, rounds)
    models = np.empty(len(parts), np.int64)
    for i in range(len(parts)):
        models[i] = np.int64(parts[i] >> np.uint64(SLOT_BITS + COUNT_BITS))
    return models


@jit
def slots_of(handles: U64, rounds: U32) -> I64:
    """[n] the slot in each handle; beyond the model's slots, perhaps, where it is none of this process."""
    parts = decipher(handles, rounds)
    slots = np.empty(len(parts), np.int64)
    for i in range(len(parts)):
        slots[i] = np.int64((parts[i] >> np.uint64(COUNT_BITS)) & np.uint64(MAX_SLOTS - 1))
    return slots


@jit
def encipher(blocks: U64, rounds: U32) -> U64:
    """[n] each number as a block of the cipher, the word that the paper calls x above y."""
    enciphered = np.empty_like(blocks)
    for i, block in enumerate(blocks):
        x: Any = np.uint32(block >> np.uint64(32))
        y: Any = np.uint32(block & np.uint64(_WORD_MASK))
        for key in rounds:
            x = np.uint32((x >> np.uint32(8)) | (x << np.uint32(24)))
            x = np.uint32(np.uint32(x + y) ^ key)
            y = np.uint32((y << np.uint32(3)) | (y >> np.uint32(29)))
            y = np.uint32(y ^ x)
        enciphered[i] = (np.uint64(x) << np.uint64(32)) | np.uint64(y)
    return enciphered


@jit
def decipher(blocks: U64, rounds: U32) -> U64:
    """[n] what `encipher` made the `blocks` of; round by round over all of them, so that several go at once."""
    xs, ys = np.empty(len(blocks), np.uint32), np.empty(len(blocks), np.uint32)
    for i, block in enumerate(blocks):
        xs[i], ys[i] = np.uint32(block >> np.uint64(32)), np.uint32(block & np.uint64(_WORD_MASK))
    for r in range(len(rounds) - 1, -1, -1):
        key = rounds[r]
        for i, x, y in zip(range(len(xs)), xs, ys):  # noqa: B905 - Numba knows no strict
            xs[i], ys[i] = _undo_round(x, y, key)
    deciphered = np.empty_like(blocks)
    for i in range(len(blocks)):
        deciphered[i] = (np.uint64(xs[i]) << np.uint64(32)) | np.uint64(ys[i])
    return deciphered


@jit
def _undo_round(x: Any, y: Any, key: Any) -> tuple[Any, Any]:
    y = np.uint32(y ^ x)
    y = np.uint32((y >> np.uint32(3)) | (y << np.uint32(29)))
    x = np.uint32(np.uint32(x ^ key) - y)
    return np.uint32((x << np.uint32(8)) | (x >> np.uint32(24))), y


@jit
def _model_of(handle: int, rounds: U32) -> int:
    # Of one alone, which columns would take four times as long for.
    x, y = np.uint32(handle >> np.uint64(32)), np.uint32(handle & np.uint64(_WORD_MASK))
    for r in range(len(rounds) - 1, -1, -1):
        x, y = _undo_round(x, y, rounds[r])
    return np.int64(x >> np.uint32(SLOT_BITS + COUNT_BITS - 32))  # type: ignore[return-value]


def _round_keys(words: Sequence[int]) -> U32:
    *others, key = words
    others.reverse()
    keys = [key]
    for r in range(_ROUNDS - 1):
        word = others.pop(0)
        word = (((word >> 8 | word << 24) & _WORD_MASK) + key & _WORD_MASK) ^ r
        key = (key << 3 & _WORD_MASK | key >> 29) ^ word
        others.append(word)
        keys.append(key)
    return np.array(keys, np.uint32)
