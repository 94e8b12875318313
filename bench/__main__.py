"""`python -m bench`: the benchmarks, each of which prints the ratios that it is about.

A benchmark is a module of this package with `measure(effort, folder) -> Result`.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

from bench.effort import FULL, SHORT, TINY, Effort
from bench.report import Report, write
from bench.result import Result
from elman_server.loadgen.report.machine import this_machine

BENCHMARKS = {
    "latency": "latency:measure",
    "frames": "frames:measure",
    "frames-bf16": "frames:measure_bfloat16",
    "coalescing": "coalescing:measure",
    "streams": "streams:measure",
    "baselines": "baselines:measure",
    "no-padding": "no_padding:measure",
    "slow-neighbour": "slow_neighbour:measure",
    "long-calls": "long_calls:measure",
    "overload": "overload:measure",
    "generate": "generate:measure",
    "million": "million:measure",
}
COMMANDS = ("plans", "gpu", "oip")
"""Benchmarks that are commands of their own, where they are there: run last, in their short modes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs some benchmarks; the exit code: 0 all ran, whatever they found."""
    given = _parser().parse_args(arguments)
    machine = this_machine()
    with tempfile.TemporaryDirectory(prefix="elman-bench-") as folder:
        results = _run_all(given.only or BENCHMARKS, given.effort, Path(folder))
    report = Report(machine, given.effort, tuple(results))
    write(report, given.out)
    print(f"\n{report.summary}\n\n{machine}\nreport.txt, report.json and plots: {given.out}", flush=True)
    others = [name for name in COMMANDS if name in given.only] if given.only else _commands(given.effort)
    codes = [subprocess.call([sys.executable, "-m", f"bench.{name}", *_options(name, given.out)]) for name in others]
    return int(any(codes))


def _options(name: str, out: Path) -> list[str]:
    # Kept figures (bench/results) are written by these commands themselves, not on the way of a short run.
    short = [] if name == "gpu" else ["--short"]
    return short if name == "oip" else [*short, "--out", str(out / f"{name}.json")]


def _run_all(names: Iterable[str], effort: Effort, folder: Path) -> list[Result]:
    results = []
    for name in names:
        if name in BENCHMARKS:
            module, _, function = BENCHMARKS[name].partition(":")
            own = folder / name
            own.mkdir()
            results.append(getattr(import_module(f"bench.{module}"), function)(effort, own))
            print(f"\n{results[-1]}", flush=True)
    return results


def _commands(effort: Effort) -> list[str]:
    there = [name for name in COMMANDS if find_spec(f"bench.{name}")]
    return [] if effort is TINY else [name for name in there if name != "gpu" or torch.cuda.is_available()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="What elman claims about speed.")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=(*BENCHMARKS, *COMMANDS), help="some of them")
    parser.add_argument("--out", type=Path, default=Path("bench/out"), metavar="DIR", help="for the report's files")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--short", dest="effort", action="store_const", const=SHORT, help="minutes (the default)")
    size.add_argument("--full", dest="effort", action="store_const", const=FULL, help="longer, for tighter medians")
    size.add_argument("--tiny", dest="effort", action="store_const", const=TINY, help="seconds: whether it runs at all")
    parser.set_defaults(effort=SHORT)
    return parser


if __name__ == "__main__":
    sys.exit(main())
