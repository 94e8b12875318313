"""The Open Inference Protocol against the native Step stream, and against a former server; one step a message.

    python -m bench.oip [--short | --full] [--former COMMIT]

64 sequences on one stream, and 256 on as many. All have the same model and client; rounds take turns, and ratios are
the medians over them. The former server runs from a worktree of its own, with the same packages installed.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from bench.before_after import FORMER, ROOT, worktree
from bench.bundles import NAME, write_model
from bench.effort import FULL, SHORT, TINY, Effort
from bench.oip_client import Running, native, open_inference, running
from bench.progress import rounds, say
from bench.result import Bar, Figure, Result
from bench.serving import Served, serve

STEP, OPEN_INFERENCE, FORMER_SIDE = "native Step", "Open Inference Protocol", "Open Inference Protocol, former server"
OVER_STEP, OVER_FORMER = 0.85, 3.0
ROUNDS = 2
"""For each of the effort's."""
TURNS = 5
"""Of each side in a round: short ones, so that other work on the machine meets all sides alike."""


@dataclass(frozen=True)
class Load:
    """Sequences that each have one step in flight."""

    sequences: int
    streams: int

    def __str__(self) -> str:
        return f"{self.sequences} sequences on {'one stream' if self.streams == 1 else 'as many streams'}"


LOADS = (Load(64, 1), Load(256, 256))


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
        """What the bars speak of."""
        return self.steps / self.seconds


Found = dict[str, list[Measured]]
"""By side, a round each."""


def measure(effort: Effort, folder: Path, former: str = FORMER) -> Result:
    """All sides in turn; without the former server where its commit is not there."""
    models = write_model(folder, effort)
    with ExitStack() as stack:
        servers = {OPEN_INFERENCE: stack.enter_context(serve(models))}
        servers[STEP] = servers[OPEN_INFERENCE]
        if _has(former):
            source = stack.enter_context(worktree(former, folder / "former"))
            servers[FORMER_SIDE] = stack.enter_context(serve(models, source=source))
        else:
            say(f"oip: no commit {former} here: nothing is said of a former server")
        found = {load: asyncio.run(_measure(effort, load, servers)) for load in LOADS}
    bars = [bar for load, measured in found.items() for bar in _bars(load, measured)]
    figures = [figure for load, measured in found.items() for figure in _figures(load, measured)]
    return Result("oip", tuple(bars), tuple(figures))


def _has(commit: str) -> bool:
    command = ("git", "-C", str(ROOT), "cat-file", "-e", f"{commit}^{{commit}}")
    return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0


async def _measure(effort: Effort, load: Load, servers: dict[str, Served]) -> Found:
    data = np.random.default_rng(0).standard_normal((1, effort.input_size)).astype(np.float32)
    found: Found = {name: [] for name in servers}
    async with AsyncExitStack() as stack:
        sides: dict[str, Running] = {}
        for name, served in servers.items():
            if name == STEP:
                side = await native(served.address, NAME, load.sequences, data)
            else:
                side = open_inference(NAME, load.sequences, data)
            sides[name] = await stack.enter_async_context(running(served.address, side, load.streams))
            await sides[name].turn(effort.warm_up_seconds)
        for index in rounds(f"oip, {load}", ROUNDS * effort.rounds):
            totals = dict.fromkeys(sides, Measured())
            for turn in range(TURNS):
                for name in list(sides)[:: 1 if (index + turn) % 2 else -1]:
                    totals[name] += await _turn(servers[name], sides[name], effort.seconds / ROUNDS / TURNS)
            for name, total in totals.items():
                found[name].append(total)
    return found


async def _turn(served: Served, streams: Running, seconds: float) -> Measured:
    cpu = served.cpu_seconds
    steps, took = await streams.turn(seconds)
    return Measured(steps, took, served.cpu_seconds - cpu)


def _bars(load: Load, found: Found) -> list[Bar]:
    bars = [Bar(f"steps/s of ModelStreamInfer over Step, {load}", _ratio(found, STEP), OVER_STEP, at_most=False)]
    if FORMER_SIDE in found:
        text = f"steps/s of ModelStreamInfer over the former server's, {load}"
        bars.append(Bar(text, _ratio(found, FORMER_SIDE), OVER_FORMER, at_most=False))
    return bars


def _ratio(found: Found, over: str) -> float:
    pairs = zip(found[OPEN_INFERENCE], found[over], strict=True)
    return median(mine.steps_per_second / other.steps_per_second for mine, other in pairs)


def _figures(load: Load, found: Found) -> list[Figure]:
    figures: list[Figure] = []
    for name, measured in found.items():
        cpu = sum(one.cpu_seconds for one in measured) / sum(one.steps for one in measured)
        figures.append(Figure(f"{name}, {load}", median(one.steps_per_second for one in measured), "steps/s"))
        figures.append(Figure(f"{name}, {load}, the server", cpu * 1e6, "us of processor time per step"))
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.oip", description=(__doc__ or "").splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    for name, effort in (("short", SHORT), ("full", FULL), ("tiny", TINY)):
        size.add_argument(f"--{name}", dest="effort", action="store_const", const=effort)
    parser.set_defaults(effort=SHORT)
    parser.add_argument("--former", default=FORMER, metavar="COMMIT", help=f"the former server (default: {FORMER})")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="elman-bench-") as folder:
        print(measure(given.effort, Path(folder), given.former), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
