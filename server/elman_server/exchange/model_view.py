"""What the door must know of a model to read a frame."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman import wire
from elman_models.spec import ModelSpec


@dataclass(slots=True, frozen=True)
class InputSpec:
    """One step's input, as it travels and as it is checked."""

    features: tuple[int, ...]
    """Of one step's input: (input_size,), or () for token ids."""
    dtype: np.dtype[np.float32] | np.dtype[np.int64]
    wire_dtype: int
    """As it travels: `elman.wire`'s number."""
    num_embeddings: int
    """Token ids are below it; 0 where the input is not ids."""
    num_bytes: int
    """Of one step's input."""

    @classmethod
    def of(cls, spec: ModelSpec) -> "InputSpec":
        """The input of a spec."""
        ids = spec.embedding.num_embeddings if spec.embedding else 0
        dtype = np.dtype(np.int64) if ids else np.dtype(np.float32)
        return cls(
            spec.input_features, dtype, wire.wire_dtype(dtype), ids, dtype.itemsize * math.prod(spec.input_features)
        )

    def array(self, raw: bytes | bytearray, steps: int) -> NDArray[Any]:
        """[steps, *features] the bytes of so many steps as they came, little-endian; not copied."""
        return np.frombuffer(raw, self.dtype.newbyteorder("<")).reshape(steps, *self.features)
