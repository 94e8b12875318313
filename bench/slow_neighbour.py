"""A slow neighbour: one session's very long chunks beside many that send single steps."""

from dataclasses import dataclass
from pathlib import Path

from bench.bundles import NAME, write_model
from bench.clients import Clients, clients
from bench.effort import Effort
from bench.median import median
from bench.progress import rounds
from bench.result import Bar, Figure, Result
from bench.serving import Served, serve
from elman_server.loadgen.lengths import Lengths
from elman_server.loadgen.load import Load
from elman_server.loadgen.outcome import Outcome

CALLERS = 32
PACE = 0.4
"""Of what the callers reached back to back: paced, as streams of speech frames are. A pace in steps a second would be
all that a slow machine can do, where any load beside makes the queue grow."""
BACK_TO_BACK, PACED = "back to back", f"a Poisson process of {PACE:.0%} of that"
TIMES_AS_MANY = 3
"""Rounds as other benchmarks have: whoever shares the machine moves the slowest hundredth most."""
MARGIN_SECONDS = 1.0
"""For which the neighbour runs before and after."""


@dataclass(frozen=True)
class Round:
    """The callers without and with the neighbour."""

    alone: Outcome
    beside: Outcome
    neighbour: Outcome

    @property
    def ratio(self) -> float:
        """Of the p99 latencies."""
        return self.beside.latency(99) / self.alone.latency(99)


def measure(effort: Effort, folder: Path) -> Result:
    """Callers that send as fast as they are answered, and callers that are paced."""
    with serve(write_model(folder, effort)) as served, clients(2) as own:
        found: dict[str, list[Round]] = {BACK_TO_BACK: [], PACED: []}
        for _ in rounds("slow neighbour", TIMES_AS_MANY * effort.rounds):
            fast = one_round(effort, served, own, None)
            found[BACK_TO_BACK].append(fast)
            found[PACED].append(one_round(effort, served, own, PACE * fast.alone.goodput))
    chunk = effort.long_chunk
    return Result(
        name="slow neighbour",
        bars=tuple(
            Bar(
                f"p99 of {CALLERS} single-step sessions ({kind}) with chunks of {chunk} steps beside, over without",
                median(ones, lambda r: r.ratio),
                2.0,
                at_most=True,
            )
            for kind, ones in found.items()
        ),
        figures=tuple(figure for kind, ones in found.items() for figure in _figures(kind, ones)),
    )


def one_round(effort: Effort, served: Served, own: Clients, rate: float | None) -> Round:
    """Callers at that many steps/s (None: as fast as they are answered), without and with the neighbour."""
    callers = Load(
        served.address,
        NAME,
        sessions=CALLERS,
        streams=CALLERS,
        rate=rate,
        warm_up_seconds=effort.warm_up_seconds,
        seconds=effort.seconds,
    )
    neighbour = Load(
        served.address,
        NAME,
        lengths=Lengths("fixed", effort.long_chunk, effort.long_chunk),
        warm_up_seconds=0.0,
        seconds=effort.warm_up_seconds + effort.seconds + 2 * MARGIN_SECONDS,
    )
    alone = own.run(callers, served.probe)
    under_way = own.run_beside(neighbour, MARGIN_SECONDS)
    return Round(alone, own.run(callers, served.probe), under_way.result())


def _figures(kind: str, found: list[Round]) -> tuple[Figure, ...]:
    return (
        Figure(f"{kind}: p50 without", median(found, lambda r: r.alone.latency(50) * 1e3), "ms"),
        Figure(f"{kind}: p50 beside", median(found, lambda r: r.beside.latency(50) * 1e3), "ms"),
        Figure(f"{kind}: p99 without", median(found, lambda r: r.alone.latency(99) * 1e3), "ms"),
        Figure(f"{kind}: p99 beside", median(found, lambda r: r.beside.latency(99) * 1e3), "ms"),
        Figure(f"{kind}: steps/s without", median(found, lambda r: r.alone.goodput)),
        Figure(f"{kind}: steps/s beside", median(found, lambda r: r.beside.goodput)),
        Figure(f"{kind}: the long chunks' steps/s", median(found, lambda r: r.neighbour.goodput)),
        Figure(
            f"{kind}: the long chunks' steps per result that streams back",
            median(found, lambda r: r.neighbour.done_steps / max(r.neighbour.results, 1)),
        ),
        Figure(
            f"{kind}: a long chunk's first output after",
            median(found, lambda r: r.neighbour.first_latency(50) * 1e3),
            "ms",
        ),
        Figure(f"{kind}: its last output after", median(found, lambda r: r.neighbour.latency(50) * 1e3), "ms"),
    )
