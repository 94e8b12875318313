"""No padding: under random chunk lengths, steps computed are steps asked for, by the server's own counters."""

from dataclasses import dataclass
from pathlib import Path

from bench.bundles import NAME, write_model
from bench.clients import Clients, clients
from bench.effort import Effort
from bench.progress import say
from bench.result import Bar, Figure, Result
from bench.serving import Served, serve
from elman_server.loadgen.lengths import Lengths
from elman_server.loadgen.load import Load
from elman_server.loadgen.outcome import Outcome
from elman_server.loadgen.reading import Reading

DISTRIBUTIONS = ("uniform:1:16", "geometric:8", "uniform:1:100")
STREAMS = 4


@dataclass(frozen=True)
class Count:
    """One distribution."""

    lengths: str
    outcome: Outcome
    server: Reading
    """Over all of the load, its warm-up and its end too."""

    @property
    def difference(self) -> float:
        """Steps computed that were not asked for, or asked for and not computed."""
        return abs(self.server.steps + self.server.padded_steps - self.outcome.all_steps)


def measure(effort: Effort, folder: Path) -> Result:
    """Some distributions, one after the other."""
    with serve(write_model(folder, effort)) as served, clients() as own:
        found = [_count(effort, served, own, lengths) for lengths in DISTRIBUTIONS]
    return Result(
        name="no padding",
        bars=tuple(
            Bar(f"steps computed less steps asked for, lengths {c.lengths}", c.difference, 0.0, True) for c in found
        ),
        figures=(
            Figure("steps asked for", float(sum(c.outcome.all_steps for c in found))),
            Figure("elman_session_steps_total", sum(c.server.steps for c in found)),
            Figure("elman_padded_steps_total", sum(c.server.padded_steps for c in found)),
            *(Figure(f"lengths {c.lengths}", c.outcome.goodput, "session-steps/s") for c in found),
        ),
    )


def _count(effort: Effort, served: Served, own: Clients, lengths: str) -> Count:
    say(f"no padding: lengths {lengths}")
    load = Load(
        served.address,
        NAME,
        sessions=effort.sessions,
        streams=STREAMS,
        in_flight=2,
        lengths=Lengths.parse(lengths),
        warm_up_seconds=effort.warm_up_seconds,
        seconds=effort.seconds,
    )
    before = served.probe()
    outcome = own.run(load, served.probe)
    return Count(lengths, outcome, served.probe() - before)
