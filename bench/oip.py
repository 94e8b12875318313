"""The Open Inference Protocol against the native Step stream: 64 sequences in flight on one stream, one step a message.

Both sides have the same server process, model and client; rounds take turns, and the ratio is the median over them.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.bundles import NAME, write_model
from bench.effort import FULL, SHORT, TINY, Effort
from bench.oip_client import Running, Side, native, open_inference, running
from bench.progress import rounds
from bench.result import Bar, Figure, Result
from bench.serving import Served, serve

SEQUENCES = 64
LIMIT = 0.8
ROUNDS = 4
"""For each of the effort's."""
TURNS = 5
"""Of each side in a round: short ones, so that other work on the machine meets both sides alike."""


@dataclass(frozen=True)
class Measured:
    """One side of one round."""

    steps: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    """Of the server."""

    def __add__(self, other: "Measured") -> "Measured":
        return Measured(self.steps + other.steps, self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds)

    @property
    def steps_per_second(self) -> float:
        """What the bar speaks of."""
        return self.steps / self.seconds


def measure(effort: Effort, folder: Path) -> Result:
    """Both sides in turn."""
    with serve(write_model(folder, effort)) as served:
        return asyncio.run(_measure(effort, served))


async def _measure(effort: Effort, served: Served) -> Result:
    data = np.random.default_rng(0).standard_normal((1, effort.input_size)).astype(np.float32)
    sides = (await native(served.address, NAME, SEQUENCES, data), open_inference(NAME, SEQUENCES, data))
    turn_seconds = effort.seconds / ROUNDS / TURNS
    found: list[list[Measured]] = [[], []]
    async with running(served.address, sides[0]) as first, running(served.address, sides[1]) as second:
        for stream in (first, second):
            await stream.turn(effort.warm_up_seconds)
        for index in rounds("oip", ROUNDS * effort.rounds):
            totals = [Measured(), Measured()]
            for turn in range(TURNS):
                order = (0, 1) if (index + turn) % 2 else (1, 0)
                for which in order:
                    totals[which] += await _turn(served, (first, second)[which], turn_seconds)
            for which in (0, 1):
                found[which].append(totals[which])
    return _result(sides, found)


async def _turn(served: Served, stream: Running, seconds: float) -> Measured:
    cpu = served.cpu_seconds
    steps, took = await stream.turn(seconds)
    return Measured(steps, took, served.cpu_seconds - cpu)


def _result(sides: Sequence[Side], found: Sequence[Sequence[Measured]]) -> Result:
    ratio = statistics.median(b.steps_per_second / a.steps_per_second for a, b in zip(*found, strict=True))
    text = f"steps/s of ModelStreamInfer over Step, one stream, {SEQUENCES} sequences in flight"
    figures: list[Figure] = []
    for side, measured in zip(sides, found, strict=True):
        rate = statistics.median(one.steps_per_second for one in measured)
        cpu = sum(one.cpu_seconds for one in measured) / sum(one.steps for one in measured)
        figures.append(Figure(side.name, rate, "steps/s"))
        figures.append(Figure(f"{side.name}, the server", cpu * 1e6, "us of processor time per step"))
    return Result("oip", (Bar(text, ratio, LIMIT, at_most=False),), tuple(figures))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.oip", description=(__doc__ or "").splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    for name, effort in (("short", SHORT), ("full", FULL), ("tiny", TINY)):
        size.add_argument(f"--{name}", dest="effort", action="store_const", const=effort)
    parser.set_defaults(effort=SHORT)
    with tempfile.TemporaryDirectory(prefix="elman-bench-") as folder:
        print(measure(parser.parse_args(arguments).effort, Path(folder)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
