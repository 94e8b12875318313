"""Graphs as an unmodified tritonclient runs them: what its script is to send of each model, and what it leaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from client_venvs import ClientVenv

SCRIPT = Path(__file__).parent / "clients" / "triton_graph.py"
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Begun:
    """One sequence, and what it begins with."""

    inputs: Arrays  # [T, *features]
    context: Arrays = field(default_factory=dict)  # [1, *features]
    states: Sequence[np.ndarray] = ()  # in the model's order, [1, *features] or [layers, 1, *features]

    @property
    def length(self) -> int:
        """T"""
        return len(next(iter(self.inputs.values())))


def streamed(rng: np.random.Generator, sequences: Sequence[Begun], outputs: Sequence[str]) -> Arrays:
    """Sequences in random chunks, interleaved on one stream; gives OUTPUT:K of sequence K, [T, *features]."""
    arrays: Arrays = {"order": np.array(_in_any_order(rng, [one.length for one in sequences]))}
    for k, one in enumerate(sequences):
        arrays |= {f"input:{name}:{k}": array for name, array in one.inputs.items()}
        arrays |= {f"context:{name}:{k}": array for name, array in one.context.items()}
        arrays |= {f"state:{number}:{k}": array for number, array in enumerate(one.states)}
    return arrays | {"outputs": np.array(outputs)}


def called(batches: Sequence[Arrays], outputs: Sequence[str]) -> Arrays:
    """Batches of whole sequences, each one call: inputs [T, B, *features], context [B, *features]; gives OUTPUT:K."""
    arrays = {f"batch:{name}:{k}": array for k, batch in enumerate(batches) for name, array in batch.items()}
    return arrays | {"outputs": np.array(outputs)}


def run_graphs(triton: ClientVenv, address: str, folder: Path, models: Mapping[str, Arrays]) -> dict[str, Arrays]:
    """What came of each model, all by one process of the client; `error` where it failed."""
    for name, arrays in models.items():
        np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]
    triton.run(SCRIPT, address, folder)
    return {name: dict(np.load(folder / f"{name}.out.npz")) for name in models}


def _in_any_order(rng: np.random.Generator, lengths: list[int]) -> list[tuple[int, int, int]]:
    """Chunks of sequences as (sequence, first step, steps), each sequence's in their order."""
    done, order = [0] * len(lengths), []
    while left := [k for k, length in enumerate(lengths) if done[k] < length]:
        k = int(rng.choice(left))
        steps = int(rng.integers(1, lengths[k] - done[k] + 1))
        order.append((k, done[k], steps))
        done[k] += steps
    return order
