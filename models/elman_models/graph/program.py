"""A program: instructions on numbered registers, in order; nothing is looked up by name while it runs."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from elman_models.graph.operations.operation import Run

Sizes = NDArray[np.int64]
"""[seq_len] rows that have step t, non-increasing."""
SIZES = 0
"""The register of the sizes; all others are tensors."""


class Instruction(NamedTuple):
    """Reads registers, runs, writes registers."""

    run: Run
    reads: tuple[int, ...]
    writes: int | tuple[int, ...]
    """One, or one for each of several results."""


def execute(instructions: Sequence[Instruction], registers: list[torch.Tensor]) -> None:
    """Runs `instructions` one after another."""
    for run, reads, writes in instructions:
        # Most have one input, which needs no list.
        result = run(registers[reads[0]]) if len(reads) == 1 else run(*[registers[read] for read in reads])
        if type(writes) is int:
            registers[writes] = result  # type: ignore[assignment]
        else:
            for write, one in zip(writes, result, strict=True):  # type: ignore[arg-type]
                registers[write] = one


class Loop:
    """The part of a step graph that feeds itself, as one operation: step after step, on the rows that have one."""

    def __init__(
        self,
        body: Sequence[Instruction],
        constants: Sequence[torch.Tensor],
        pieces: Sequence[int],
        states: Sequence[tuple[int, int, int]],
        collected: Sequence[int],
    ) -> None:
        """Of registers of its own.

        Args:
            body: of one step.
            constants: all registers, as a step begins.
            pieces: those that are given for all steps, packed.
            states: for each the register before a step, the one after it, and the axis of rows.
            collected: those that are given on for all steps, packed.
        """
        self._body = body
        self._constants = constants
        self._pieces = pieces
        self._states = states
        self._collected = collected

    def run(self, sizes: Sizes, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The pieces, then the states before the first step; gives what is collected, then the states after the last.

        A row's state is put aside when it ends, so that what runs are always the first rows.
        """
        pieces, states = given[: len(self._pieces)], list(given[len(self._pieces) :])
        collected: list[list[torch.Tensor]] = [[] for _ in self._collected]
        ended: list[list[torch.Tensor]] = [[] for _ in states]
        at, before = 0, int(sizes[0])
        for step, rows in enumerate(sizes.tolist()):
            if rows < before:
                self._put_aside(states, ended, rows, before - rows)
            registers = self._step(sizes[step : step + 1], [piece[at : at + rows] for piece in pieces], states)
            states = [registers[after] for _, after, _ in self._states]
            for parts, register in zip(collected, self._collected, strict=True):
                parts.append(registers[register])
            at, before = at + rows, rows
        axes = [axis for _, _, axis in self._states]
        whole = [torch.cat([last, *parts[::-1]], a) for last, parts, a in zip(states, ended, axes, strict=True)]
        return (*(torch.cat(parts) for parts in collected), *whole)

    def _step(self, sizes: Sizes, pieces: Sequence[torch.Tensor], states: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        registers = list(self._constants)
        registers[SIZES] = cast(torch.Tensor, sizes)
        for register, piece in zip(self._pieces, pieces, strict=True):
            registers[register] = piece
        for (register, _, _), state in zip(self._states, states, strict=True):
            registers[register] = state
        execute(self._body, registers)
        return registers

    def _put_aside(
        self, states: list[torch.Tensor], ended: list[list[torch.Tensor]], rows: int, num_ended: int
    ) -> None:
        for index, (_, _, axis) in enumerate(self._states):
            ended[index].append(states[index].narrow(axis, rows, num_ended))
            states[index] = states[index].narrow(axis, 0, rows).contiguous()
