"""A served process: a server of any kind as a child of the benchmark, with its processor time and memory."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from elman_server.loadgen.reading import Probe, cpu_seconds_of

STOP_SECONDS = 60
ADDRESS = re.compile(r" on (127\.0\.0\.1:\d+)")
METRICS = re.compile(r"(http://\S+/metrics)")


@dataclass(frozen=True)
class Served:
    """A server that has said where it listens."""

    pid: int
    address: str
    metrics_url: str | None

    @property
    def probe(self) -> Probe:
        """Where its readings come from."""
        return Probe(self.metrics_url, self.pid)

    @property
    def cpu_seconds(self) -> float:
        """Processor time so far."""
        return cpu_seconds_of(self.pid)

    @property
    def rss_bytes(self) -> int:
        """Memory that is resident now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def serve(
    models: Path, *options: str, cores: set[int] | None = None, source: Path | None = None, threads: int = 1
) -> Iterator[Served]:
    """`elman-server serve` on free ports; `source`: of another checkout than this one; `threads`: that compute, one so
    that another core is left for the wire and the client."""
    own = ("--models", str(models), "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
    computing = ("--threads", str(threads))
    with serve_module(
        "elman_server", "serve", *own, *computing, *options, cores=cores, source=source, threads=threads
    ) as served:
        yield served


@contextmanager
def serve_module(
    module: str, *arguments: str, cores: set[int] | None = None, source: Path | None = None, threads: int = 1
) -> Iterator[Served]:
    """A module run as a server, which prints one line that ends its start: "... on HOST:PORT ...".

    Raises:
        RuntimeError: it ended, or said something else.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    if source:
        environment["PYTHONPATH"] = os.pathsep.join(str(source / name) for name in ("models", "client", "server"))
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        if cores:
            os.sched_setaffinity(process.pid, cores)
        yield _started(process, command)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def _started(process: "subprocess.Popen[str]", command: Sequence[str]) -> Served:
    line = process.stdout.readline() if process.stdout else ""
    address, metrics = ADDRESS.search(line), METRICS.search(line)
    if not address:
        raise RuntimeError(f"{' '.join(command)}: said {line!r} instead of where it listens")
    return Served(process.pid, address[1], metrics[1] if metrics else None)
