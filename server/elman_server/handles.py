"""Handles: opaque 64-bit numbers of attached sessions on one server process.

A handle is (model number, slot, count of attachments of the slot) under a random key: one of another process, or of an
earlier attachment, equals no handle that is good now.
"""

import secrets

import numpy as np
from numpy.typing import NDArray

from elman_server.compiled import compiled

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

SLOT_BITS = 24
COUNT_BITS = 30
MAX_SLOTS = 1 << SLOT_BITS
MAX_MODELS = 1 << (64 - SLOT_BITS - COUNT_BITS)
_COUNT_MASK = np.uint64((1 << COUNT_BITS) - 1)


class HandleKey:
    """The random key of one server process."""

    def __init__(self) -> None:
        self._key_number = secrets.randbits(64)
        self._key = np.uint64(self._key_number)
        self.first_count = secrets.randbits(COUNT_BITS)
        """Where the counts of attachments begin."""

    @property
    def number(self) -> int:
        """For `slot_of`."""
        return self._key  # type: ignore[return-value]  # Numba needs to know that it is unsigned

    def pack(self, model: int, slots: I64, counts: I64) -> U64:
        """[n] handles; counts wrap at 2^30."""
        handles = np.full(len(slots), model << (SLOT_BITS + COUNT_BITS), np.uint64)
        handles |= slots.astype(np.uint64) << np.uint64(COUNT_BITS)
        handles |= counts.astype(np.uint64) & _COUNT_MASK
        return handles ^ self._key

    def model(self, handle: int) -> int:
        """The model number."""
        return (handle ^ self._key_number) >> (SLOT_BITS + COUNT_BITS)

    def models(self, handles: U64) -> I64:
        """[n] the model number of each."""
        return ((handles ^ self._key) >> np.uint64(SLOT_BITS + COUNT_BITS)).astype(np.int64)


@compiled
def slot_of(handle: int, key: int) -> int:
    """The slot in a handle; beyond the model's slots, perhaps, where it is not of this process."""
    return np.int64(((handle ^ key) >> np.uint64(COUNT_BITS)) & np.uint64(MAX_SLOTS - 1))  # type: ignore[return-value]
