"""The server as it is against a former one, side by side in one run.

    python -m bench.before_after [--former COMMIT] [--rounds 5] [--seconds 2] [--cores 1|2]

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
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.bundles import NAME, write_model
from bench.clients import Clients, clients
from bench.effort import SHORT
from bench.native_load.build import build
from bench.native_load.client import NativeClient
from bench.progress import rounds, say
from bench.serving import Served, serve
from bench.side import Side
from elman_server.loadgen.lengths import Lengths
from elman_server.loadgen.load import Load
from elman_server.loadgen.machine import this_machine
from elman_server.loadgen.table import Table

FORMER = "1fce25d"
"""The last server on grpcio's private core, whose batches ran on the event loop."""
ROOT = Path(__file__).parents[1]
ONE, SIXTEEN = Lengths("fixed", 1, 1), Lengths("fixed", 16, 16)


@dataclass(frozen=True)
class Case:
    """One load that both servers are given."""

    name: str
    sessions: int
    streams: int
    in_flight: int = 1
    lengths: Lengths = ONE

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
        if self.native and case.streams == case.sessions and case.in_flight == 1:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.before_after", description="The server against a former one."
    )
    parser.add_argument(
        "--former", default=FORMER, metavar="COMMIT", help=f"what it is held against (default: {FORMER})"
    )
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds of each case (default: 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of one side of one round (default: 2)")
    parser.add_argument("--cores", type=int, choices=(1, 2), default=1, help="of the servers (default: 1)")
    given = parser.parse_args(arguments)
    cores = {0} if given.cores == 1 else {0, 1}
    with tempfile.TemporaryDirectory(prefix="elman-bench-") as folder, ExitStack() as stack:
        models = write_model(Path(folder), SHORT)
        former = stack.enter_context(worktree(given.former, Path(folder) / "former"))
        before = stack.enter_context(serve(models, cores=cores, source=former))
        after = stack.enter_context(serve(models, cores=cores))
        senders = Senders(stack.enter_context(clients(cores={1})), _native_client())
        rows = [_row(case, given, before, after, senders) for case in CASES]
    print(f"{Table(HEADER, tuple(rows))}\n\n{this_machine()}\nformer: {given.former}; servers on {given.cores} core(s)")
    return 0


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
        say("no g++ or no gRPC for C++ here: separate streams are sent by the client in Python, which is their limit")
        return None
    return NativeClient(program, frozenset({1}), NAME, SHORT.input_size)


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
