"""Frames made ahead as bytes, so that sending one costs the client next to nothing."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from elman import wire
from elman.v1 import inference_pb2, models_pb2
from elman_server.loadgen.lengths import Lengths

VARIANTS = 16
"""Frames made of each group of sessions where lengths are random."""


class FrameBytes(NamedTuple):
    """A frame but for its number, which protobuf lets stand last."""

    body: bytes
    rows: int
    steps: int

    def numbered(self, number: int) -> bytes:
        """The message."""
        return self.body + b"\x08" + _varint(number)  # field 1, frame_id, a varint


class Shape(NamedTuple):
    """What a model takes."""

    features: tuple[int, ...]
    num_embeddings: int

    @classmethod
    def of(cls, info: models_pb2.ModelInfo) -> "Shape":
        """The shape of a described model."""
        return cls(tuple(info.input_features), info.embedding.num_embeddings)

    def input(self, rng: np.random.Generator, steps: int) -> wire.Array:
        """[steps, *features] random input, or token ids."""
        if self.num_embeddings:
            return rng.integers(0, self.num_embeddings, steps)
        return rng.standard_normal((steps, *self.features)).astype(np.float32)


def make_frames(
    handles: Sequence[int], rows: int, lengths: Lengths, shape: Shape, rng: np.random.Generator
) -> list[FrameBytes]:
    """Frames of `rows` sessions each, every session once in each round, in the order in which to send them."""
    groups = [handles[begin : begin + rows] for begin in range(0, len(handles), rows)]
    rounds = 1 if lengths.is_fixed else VARIANTS
    return [_make(group, lengths, shape, rng) for _ in range(rounds) for group in groups]


def endless(frames: Sequence[FrameBytes]) -> Iterator[FrameBytes]:
    """Around and around."""
    while True:
        yield from frames


def _make(handles: Sequence[int], lengths: Lengths, shape: Shape, rng: np.random.Generator) -> FrameBytes:
    drawn = lengths.sample(rng, len(handles))
    steps = int(drawn.sum())
    ordered = handles if lengths.is_fixed else [handles[i] for i in rng.permutation(len(handles))]
    request = inference_pb2.StepRequest(
        handles=ordered, lengths=drawn.tolist(), input=wire.to_tensor(shape.input(rng, steps))
    )
    return FrameBytes(request.SerializeToString(), len(handles), steps)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
