"""A model held against a golden file: whole, and in chunks."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from elman_models.errors import GoldenError
from elman_models.golden import Golden
from elman_models.packed import Packed
from elman_models.stack import Stack
from elman_models.state import State

TOLERANCE = 1e-5
"""The difference that is allowed, relative to max(1, |expected|): what is promised of float32."""


@dataclass(frozen=True)
class Difference:
    """The largest one between what a model gives and what a golden file says."""

    layout: str
    """How the file was read: "[T, B, ...]", "[B, T, ...]" or "[T, ...]"."""
    whole: float
    """Of the sequence in one call, relative to max(1, |expected|)."""
    chunked: float | None
    """In chunks of 1, 1, 2, 4, ... steps; None of a model that needs whole sequences."""
    where: str
    """The array that differs most: output, h_n or c_n."""
    num_steps: int
    """Steps of the sequence: one alone tells nothing of the state."""

    @property
    def largest(self) -> float:
        """Of both."""
        return max(self.whole, self.chunked or 0.0)

    def describe(self, tolerance: float) -> str:
        """One line: what came of it."""
        agrees = "agrees" if self.largest <= tolerance else "DIFFERS"
        parts = f"whole {self.whole:.1e}, "
        parts += "not chunked (it needs whole sequences)" if self.chunked is None else f"chunked {self.chunked:.1e}"
        note = "; one step alone tells nothing of the state: give more" if self.num_steps == 1 else ""
        return (
            f"{agrees}: largest difference {self.largest:.1e} in {self.where} ({parts}), tolerance {tolerance:g} x "
            f"max(1, |expected|), read as {self.layout}{note}"
        )


def compare(stack: Stack, golden: Golden) -> Difference:
    """How far `stack` is from the golden file, computed in float32, from a state of zeros.

    What has two axes before its features is read as [T, B, ...], or, where that agrees better, as [B, T, ...]: the
    numbers tell which.

    Raises:
        GoldenError: its arrays have different numbers of rows.
    """
    num_axes = golden.input.ndim - len(stack.spec.input_features)
    if num_axes == 1:
        return _compare(stack, golden, golden.input.unsqueeze(1), golden.output, "[T, ...]")
    found = [_compare(stack, golden, golden.input, golden.output, "[T, B, ...]")] if _fits(golden, 1) else []
    if _fits(golden, 0):
        is_whole = golden.output.ndim == 3
        output = golden.output.transpose(0, 1) if is_whole else golden.output
        found.append(_compare(stack, golden, golden.input.transpose(0, 1), output, "[B, T, ...]"))
    if not found:
        raise GoldenError("the golden file's output, h_n and c_n are not of one batch")
    return min(found, key=lambda difference: difference.largest)


def _fits(golden: Golden, axis: int) -> bool:
    """Whether that axis of the input can be the batch, by the shapes of what has one axis of rows."""
    batch = golden.input.shape[axis]
    states = (state for state in (golden.h_n, golden.c_n) if state is not None)
    return (golden.output.ndim == 3 or len(golden.output) == batch) and all(s.shape[1] == batch for s in states)


def _compare(stack: Stack, golden: Golden, input: torch.Tensor, output: torch.Tensor, layout: str) -> Difference:
    expected = {"output": output.reshape(-1, input.shape[1], output.shape[-1]), "h_n": golden.h_n, "c_n": golden.c_n}
    input = input.long() if stack.spec.embedding else input.float()
    lengths = [[len(input)]] + [list(chunk_lengths(len(input)))] * stack.spec.keeps_sessions
    runs = [_largest(_run(stack, input, parts), expected) for parts in lengths]
    whole, where = runs[0]
    if len(runs) == 1:
        return Difference(layout, whole, None, where, len(input))
    return Difference(layout, whole, runs[1][0], max(runs)[1], len(input))


def chunk_lengths(steps: int) -> Iterator[int]:
    """1, 1, 2, 4, ... steps, and what is left."""
    done = 0
    while done < steps:
        length = min(max(1, done), steps - done)
        yield length
        done += length


def _run(stack: Stack, input: torch.Tensor, lengths: Sequence[int]) -> dict[str, torch.Tensor | None]:
    """What the stack gives for `input` [T, B, *features], fed in chunks: output [T, B, output_size], h_n and c_n."""
    batch, outputs = input.shape[1], []
    state = stack.initial_state(batch)
    for chunk in torch.split(input, list(lengths)):
        packed = Packed(chunk.reshape(-1, *chunk.shape[2:]).contiguous(), np.full(len(chunk), batch, np.int64))
        output, state = stack.step(packed, state)
        outputs.append(output.reshape(len(chunk), batch, -1))
    return {"output": torch.cat(outputs), **_named(state)}


def _named(state: State) -> dict[str, torch.Tensor | None]:
    return {"h_n": state.h, "c_n": state.c}


def _largest(got: dict[str, torch.Tensor | None], expected: dict[str, torch.Tensor | None]) -> tuple[float, str]:
    differences = []
    for name, want in expected.items():
        have = got[name]
        if want is not None and have is not None:
            differences.append((relative_difference(have[-len(want) :], want), name))  # the last step's, or all
    return max(differences)


def relative_difference(have: torch.Tensor, want: torch.Tensor) -> float:
    """The largest |have - want| / max(1, |want|), of tensors of one shape; infinite where one is not a number."""
    want = want.double()
    error = (have.double() - want).abs() / want.abs().clamp(min=1)
    return float(error.max().nan_to_num(math.inf, posinf=math.inf)) if error.numel() else 0.0
