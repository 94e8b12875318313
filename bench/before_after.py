"""The server as it is against a former one, side by side in one run.

    python -m bench.before_after [--former COMMIT] [--rounds 5] [--seconds 2] [--cores 1|2] [--threads 1]
                                 [--only streams others plain million]

The former server runs from a worktree of its own, with the same packages installed. Both serve the same model, a load
is sent to one and then to the other, and what is printed are medians of the rounds' ratios. Separate streams are sent
by the load generator in C++ where it can be built: the client in Python takes more of its core than the server.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from bench import no_worse
from bench.bundles import NAME, write_model
from bench.clients import Clients, clients
from bench.effort import SHORT
from bench.native_load.build import NEEDED, build
from bench.native_load.client import NativeClient
from bench.progress import rounds, say
from bench.serving import Served
from bench.side import Side
from elman_server.loadgen.lengths import Lengths
from elman_server.loadgen.load import Load
from elman_server.loadgen.report.machine import this_machine
from elman_server.loadgen.report.table import Table

FORMER = "1fce25d"
"""The last server on grpcio's private core, whose batches ran on the event loop."""
ROOT = Path(__file__).parents[1]
CLIENTS_CORES = {1}
ONE, SIXTEEN = Lengths("fixed", 1, 1), Lengths("fixed", 16, 16)


@dataclass(frozen=True)
class Case:
    """One load that both servers are given."""

    name: str
    sessions: int
    streams: int
    in_flight: int = 1
    lengths: Lengths = ONE

    @property
    def is_separate(self) -> bool:
        """Whether each session has a stream of its own, with one frame under way."""
        return self.streams == self.sessions and self.in_flight == 1

    def load(self, address: str, seconds: float) -> Load:
        """It, for one server."""
        return Load(
            address,
            NAME,
            sessions=self.sessions,
            streams=self.streams,
            in_flight=self.in_flight,
            lengths=self.lengths,
            seconds=seconds,
        )


@dataclass(frozen=True)
class Senders:
    """Who sends the load."""

    python: Clients
    native: NativeClient | None

    def run(self, case: Case, seconds: float, served: Served) -> Side:
        """Sends it to one server."""
        if self.native and case.is_separate:
            return self.native.run(served, case.streams, int(case.lengths.high), seconds)
        return Side.of(self.python.run(case.load(served.address, seconds), served.probe))


CASES = (
    Case("one session, one step in flight", 1, 1),
    Case("64 streams of one session, T=1", 64, 64),
    Case("256 streams of one session, T=1", 256, 256),
    Case("64 streams of one session, T=16", 64, 64, lengths=SIXTEEN),
    Case("frames of 256 sessions, two in flight", 256, 1, in_flight=2),
)
HEADER = ("case", "steps/s before", "after", "over before", "p50 over", "p99 over", "us/step before", "after", "over")
GROUPS = ("streams", "others", "plain", "million")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table of each group; the exit code."""
    given = _given(arguments)
    cores = {0} if given.cores == 1 else {0, 1}
    effort = replace(SHORT, rounds=given.rounds, seconds=given.seconds)
    with tempfile.TemporaryDirectory(prefix="elman-bench-") as folder, ExitStack() as stack:
        models = write_model(Path(folder), effort)
        former = stack.enter_context(worktree(given.former, Path(folder) / "former"))
        own = stack.enter_context(clients(2, cores=CLIENTS_CORES))
        sides = no_worse.Sides(effort, models, former, cores, given.threads, CLIENTS_CORES, own)
        for group in given.only:
            print(f"{_table(group, given, sides)}\n", flush=True)
    print(
        f"{this_machine()}\nformer: {given.former}; servers on {given.cores} core(s), {given.threads} thread(s) compute"
    )
    return 0


def _given(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.before_after", description="The server against a former one."
    )
    parser.add_argument(
        "--former", default=FORMER, metavar="COMMIT", help=f"what it is held against (default: {FORMER})"
    )
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds of each case (default: 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of one side of one round (default: 2)")
    parser.add_argument("--cores", type=int, choices=(1, 2), default=1, help="of the servers (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="of the servers that compute (default: 1)")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, help="some of the groups (default: all)")
    return parser.parse_args(arguments)


def _table(group: str, given: argparse.Namespace, sides: no_worse.Sides) -> Table:
    senders = Senders(sides.own, _native_client())
    if group == "million":
        return Table(no_worse.HEADER, tuple(no_worse.with_idle_sessions(sides)))
    options = ("--door", "plain") if group == "plain" else ()
    with sides.served(after=options) as (before, after):
        if group == "others":
            return Table(no_worse.HEADER, tuple(no_worse.on_one_server(sides, before, after)))
        cases = [case for case in CASES if group == "streams" or case.is_separate]
        return Table(HEADER, tuple(_row(case, given, before, after, senders) for case in cases))


@contextmanager
def worktree(commit: str, folder: Path) -> Iterator[Path]:
    """A checkout of that commit."""
    git = ("git", "-C", str(ROOT), "worktree")
    subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def _native_client() -> NativeClient | None:
    program = build()
    if program is None:
        say(
            f"{NEEDED}: separate streams are sent by the client in Python, which is their limit: ratios are nearer to 1"
        )
        return None
    return NativeClient(program, frozenset(CLIENTS_CORES), NAME, SHORT.input_size)


def _row(case: Case, given: argparse.Namespace, before: Served, after: Served, own: Senders) -> tuple[str | float, ...]:
    found = [_round(case, given.seconds, before, after, own) for _ in rounds(case.name, given.rounds)]

    def over(figure: Callable[[Side], float]) -> float:
        return median(figure(ours) / figure(former) for former, ours in found)

    return (
        case.name,
        median(former.steps_per_second for former, _ in found),
        median(ours.steps_per_second for _, ours in found),
        over(lambda side: side.steps_per_second),
        over(lambda side: side.p50),
        over(lambda side: side.p99),
        median(former.cpu_per_step for former, _ in found) * 1e6,
        median(ours.cpu_per_step for _, ours in found) * 1e6,
        over(lambda side: side.cpu_per_step),
    )


def _round(case: Case, seconds: float, before: Served, after: Served, own: Senders) -> tuple[Side, Side]:
    former, ours = (own.run(case, seconds, one) for one in (before, after))
    return former, ours


if __name__ == "__main__":
    sys.exit(main())
