"""Where a server's time goes under separate callers, by py-spy (which has to be installed: pip install py-spy).

    python -m bench.hot_path [--sessions 256] [--streams 256] [--py-spy PATH]

Each sample counts for the innermost function of elman's on its stack; what has none is gRPC's own and the loop's.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from bench.bundles import NAME, write_model
from bench.clients import clients
from bench.effort import SHORT
from bench.serving import serve
from elman_server.loadgen.load import Load
from elman_server.loadgen.report.table import Table

SAMPLES_PER_SECOND = 200
OWN = re.compile(r"(\w+) \((?:.*/)?((?:elman_server|elman_models|elman)/[\w/]+\.py)")
RUNNERS = ("/serve.py", "/cli.py")
"""Under everything that the loop does: no work of their own."""
ELSEWHERE = "gRPC and the event loop"


def main() -> int:
    """Prints a table; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.hot_path", description="Where a server's time goes.")
    parser.add_argument("--sessions", type=int, default=256, help="default: 256")
    parser.add_argument("--streams", type=int, help="default: one for each session")
    parser.add_argument("--in-flight", type=int, default=1, help="frames of a stream under way (default: 1)")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--py-spy", default=shutil.which("py-spy"), metavar="PATH")
    given = parser.parse_args()
    if not given.py_spy:
        print("bench: py-spy is not there: pip install py-spy, or give --py-spy PATH", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="elman-bench-") as folder:
        print(table(sample(given, Path(folder))))
    return 0


def sample(given: argparse.Namespace, folder: Path) -> list[str]:
    """Lines of stacks and counts, of the threads that run."""
    raw = folder / "stacks"
    with serve(write_model(folder, SHORT)) as served, clients() as own:
        load = Load(
            served.address,
            NAME,
            sessions=given.sessions,
            streams=given.streams or given.sessions,
            in_flight=given.in_flight,
            seconds=given.seconds + 1,
        )
        under_way = own.run_beside(load, 1.0)
        how = ("--rate", str(SAMPLES_PER_SECOND), "--duration", str(round(given.seconds)), "--format", "raw")
        command = [given.py_spy, "record", "--pid", str(served.pid), *how, "--nonblocking", "--output", str(raw)]
        subprocess.run(command, check=True, capture_output=True)
        outcome = under_way.result()
    print(f"{load.sessions} sessions, {load.streams} streams: {outcome.goodput:,.0f} session-steps/s")
    return raw.read_text().splitlines()


def table(lines: Iterable[str]) -> Table:
    """Shares by function, largest first."""
    counts: Counter[tuple[str, str]] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        own = [one for one in OWN.findall(stack) if not one[1].endswith(RUNNERS)]
        function, file = own[-1] if own else (ELSEWHERE, "")
        counts[file, function] += int(count)
    total = sum(counts.values())
    rows = tuple((f"{100 * n / total:.1f}%", function, file) for (file, function), n in counts.most_common(30))
    return Table(("share", "function", "file"), rows)


if __name__ == "__main__":
    sys.exit(main())
