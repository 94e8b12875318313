"""Where a server's time goes under separate callers, by py-spy (which has to be installed: pip install py-spy).

    python -m bench.hot_path [--callers 256] [--py-spy PATH]

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
from elman_server.bench.load import Load
from elman_server.bench.table import Table

SAMPLES_PER_SECOND = 200
OWN = re.compile(r"(\w+) \((?:.*/)?((?:elman_server|elman_models|elman)/[\w/]+\.py)")
RUNNER = "/serve.py"
"""Under everything that the loop does."""
ELSEWHERE = "gRPC and the event loop"


def main() -> int:
    """Prints a table; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.hot_path", description="Where a server's time goes.")
    parser.add_argument("--callers", type=int, default=256, help="streams of one session (default: 256)")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--py-spy", default=shutil.which("py-spy"), metavar="PATH")
    given = parser.parse_args()
    if not given.py_spy:
        print("bench: py-spy is not there: pip install py-spy, or give --py-spy PATH", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="elman-bench-") as folder:
        print(table(sample(given.py_spy, given.callers, given.seconds, Path(folder))))
    return 0


def sample(py_spy: str, callers: int, seconds: float, folder: Path) -> list[str]:
    """Lines of stacks and counts, of the threads that run."""
    raw = folder / "stacks"
    with serve(write_model(folder, SHORT)) as served, clients() as own:
        load = Load(served.address, NAME, sessions=callers, streams=callers, seconds=seconds + 1)
        under_way = own.run_beside(load, 1.0)
        how = ("--rate", str(SAMPLES_PER_SECOND), "--duration", str(round(seconds)), "--format", "raw", "--nonblocking")
        subprocess.run(
            [py_spy, "record", "--pid", str(served.pid), *how, "--output", str(raw)], check=True, capture_output=True
        )
        outcome = under_way.result()
    print(f"{callers} callers: {outcome.goodput:,.0f} session-steps/s")
    return raw.read_text().splitlines()


def table(lines: Iterable[str]) -> Table:
    """Shares by function, largest first."""
    counts: Counter[tuple[str, str]] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        own = [one for one in OWN.findall(stack) if not one[1].endswith(RUNNER)]
        function, file = own[-1] if own else (ELSEWHERE, "")
        counts[file, function] += int(count)
    total = sum(counts.values())
    rows = tuple((f"{100 * n / total:.1f}%", function, file) for (file, function), n in counts.most_common(30))
    return Table(("share", "function", "file"), rows)


if __name__ == "__main__":
    sys.exit(main())
