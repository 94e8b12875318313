"""What else both servers are given: loads where today's must be no worse than the former, by `bench.before_after`.

Where the SDK is the client each server has that of its own commit; elsewhere the client is today's on both sides.
Servers have the cores that the command gives them; idle sessions take servers of their own.
"""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

from bench import million, overload, slow_neighbour
from bench.bundles import NAME
from bench.clients import Clients
from bench.effort import Effort
from bench.progress import rounds, say
from bench.serving import Served, serve

Measure = Callable[["Sides", Served, Path], Mapping[str, float]]
"""One turn of one server, which is of that checkout: figures by name, the same names at every turn."""
Row = tuple[str | float, ...]
HEADER = ("figure", "before", "after", "over before")
ROOT = Path(__file__).parents[1]
OVERLOADED = 5
"""Times what the server reached itself."""


@dataclass(frozen=True)
class Sides:
    """How the two servers are started, and who sends how much."""

    effort: Effort
    models: Path
    former: Path
    cores: set[int]
    threads: int
    clients_cores: set[int]
    own: Clients

    @contextmanager
    def served(self, *options: str, after: Sequence[str] = ()) -> Iterator[tuple[Served, Served]]:
        """The former server and today's; `after`: options that are today's alone."""
        of_both = partial(serve, self.models, *options, cores=self.cores, threads=self.threads)
        with of_both(source=self.former) as former, of_both(*after) as ours:
            yield former, ours

    def sdk(self, kind: str, served: Served, source: Path) -> float:
        """Session-steps a second of a client of that checkout's SDK (`bench.sdk_client`), on a core beside."""
        effort = self.effort
        numbers = (effort.sessions, effort.input_size, effort.warm_up_seconds, effort.seconds)
        return float(
            subprocess.run(
                [sys.executable, "-m", "bench.sdk_client", kind, served.address, NAME, *map(str, numbers)],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(source / "client")},
                preexec_fn=lambda: os.sched_setaffinity(0, self.clients_cores),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            ).stdout
        )


def pool(sides: Sides, served: Served, source: Path) -> Mapping[str, float]:
    """The SDK's pool of sessions, two steps under way."""
    return {f"SDK pool of {sides.effort.sessions}: steps/s": sides.sdk("pool", served, source)}


def coalescing(sides: Sides, served: Served, source: Path) -> Mapping[str, float]:
    """Coroutines with a session each on one client of the SDK."""
    return {f"{sides.effort.sessions} coroutines: steps/s": sides.sdk("coroutines", served, source)}


def neighbour(sides: Sides, served: Served, _: Path) -> Mapping[str, float]:
    """Sessions of single steps beside one of very long chunks."""
    found = slow_neighbour.one_round(sides.effort, served, sides.own, None)
    return {
        "beside a slow neighbour: steps/s": found.beside.goodput,
        "beside a slow neighbour: p99 ms": found.beside.latency(99) * 1e3,
        "the slow neighbour: steps/s": found.neighbour.goodput,
    }


def overloaded(sides: Sides, served: Served, _: Path) -> Mapping[str, float]:
    """Frames as fast as they are answered, and at a multiple of that."""
    load = overload.frames(sides.effort, served)
    reached = sides.own.run(replace(load, in_flight=4), served.probe).goodput
    beyond = sides.own.run(replace(load, rate=OVERLOADED * reached), served.probe)
    return {
        "frames over 8 connections: steps/s": reached,
        f"overload, {OVERLOADED} times that: steps/s": beyond.goodput,
        f"overload, {OVERLOADED} times that: callers' p99 ms": beyond.latency(99) * 1e3,
    }


def active(sides: Sides, served: Served, _: Path) -> Mapping[str, float]:
    """Sessions that step beside idle ones."""
    goodput = sides.own.run(million.active(sides.effort, served.address), served.probe).goodput
    return {f"active beside {sides.effort.idle_sessions:,} idle ones: steps/s": goodput}


def on_one_server(sides: Sides, before: Served, after: Served) -> Iterator[Row]:
    """All that needs no server of its own."""
    for measure in (pool, coalescing, neighbour, overloaded):
        yield from _compared(measure, sides, before, after)


def with_idle_sessions(sides: Sides) -> Iterator[Row]:
    """Opening very many sessions, their memory, and those that step beside."""
    effort = sides.effort
    options = ("--max-sessions", str(effort.idle_sessions + 65536), "--idle-timeout-seconds", "none")
    with sides.served(*options) as servers:
        opened, memory = [], []
        for served in servers:
            say(f"opening {effort.idle_sessions:,} sessions")
            seconds = sides.own.start(million.open_sessions, served.address, effort.idle_sessions).result()
            opened.append(effort.idle_sessions / seconds)
            memory.append(served.rss_bytes / 1e9)
        yield _row(f"opening {effort.idle_sessions:,} sessions: a second", [(opened[0], opened[1])])
        yield _row("memory with them: GB", [(memory[0], memory[1])])
        yield from _compared(active, sides, *servers)


def _compared(measure: Measure, sides: Sides, before: Served, after: Served) -> Iterator[Row]:
    name = (measure.__doc__ or "").rstrip(".")
    both = ((before, sides.former), (after, ROOT))
    found = [tuple(measure(sides, *one) for one in both) for _ in rounds(name, sides.effort.rounds)]
    for figure in found[0][0]:
        yield _row(figure, [(former[figure], ours[figure]) for former, ours in found])


def _row(name: str, found: list[tuple[float, float]]) -> Row:
    # Medians of both, and of the rounds' ratios; not a number where one of them did nothing.
    over = median(ours / former if former else math.nan for former, ours in found)
    return name, median(former for former, _ in found), median(ours for _, ours in found), over
