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
from bench.oip_client import Side, native, open_inference, run
from bench.progress import rounds
from bench.result import Bar, Figure, Result
from bench.serving import Served, serve

SEQUENCES = 64
LIMIT = 0.8
ROUNDS = 4
"""For each of the effort's, a quarter as long each: other work on the machine then meets both sides alike."""


@dataclass(frozen=True)
class Measured:
    """One side of one round."""

    steps_per_second: float
    cpu_seconds_per_step: float
    """Of the server."""


def measure(effort: Effort, folder: Path) -> Result:
    """Both sides in turn."""
    with serve(write_model(folder, effort)) as served:
        return asyncio.run(_measure(effort, served))


async def _measure(effort: Effort, served: Served) -> Result:
    data = np.random.default_rng(0).standard_normal((1, effort.input_size)).astype(np.float32)
    sides = (await native(served.address, NAME, SEQUENCES, data), open_inference(NAME, SEQUENCES, data))
    found: list[list[Measured]] = [[], []]
    for index in rounds("oip", ROUNDS * effort.rounds):
        for which in (0, 1) if index % 2 else (1, 0):
            found[which].append(await _side(effort, served, sides[which]))
    return _result(sides, found)


async def _side(effort: Effort, served: Served, side: Side) -> Measured:
    cpu = served.cpu_seconds
    warm_up, seconds = effort.warm_up_seconds / ROUNDS, effort.seconds / ROUNDS
    rate = await run(served.address, side, warm_up, seconds)
    cpu = served.cpu_seconds - cpu
    return Measured(rate, cpu / (rate * (warm_up + seconds)))


def _result(sides: Sequence[Side], found: Sequence[Sequence[Measured]]) -> Result:
    ours, theirs = ([one.steps_per_second for one in side] for side in (found[1], found[0]))
    ratio = statistics.median(mine / native for mine, native in zip(ours, theirs, strict=True))
    text = f"steps/s of ModelStreamInfer over Step, one stream, {SEQUENCES} sequences in flight"
    figures = [
        figure
        for side, rounds_of in zip(sides, found, strict=True)
        for figure in (
            Figure(side.name, statistics.median(one.steps_per_second for one in rounds_of), "steps/s"),
            Figure(
                f"{side.name}, the server",
                statistics.median(one.cpu_seconds_per_step for one in rounds_of) * 1e6,
                "us of processor time per step",
            ),
        )
    ]
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
