"""Runs the load generator: sessions on a stream each, one frame of T steps in flight on each."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.serving import Served
from bench.side import Side


@dataclass(frozen=True)
class NativeClient:
    """The program, on cores of its own."""

    program: Path
    cores: frozenset[int]
    model: str
    input_size: int

    def run(self, served: Served, streams: int, length: int, seconds: float, warm_up_seconds: float = 0.5) -> Side:
        """Sends a load, and awaits its end.

        Raises:
            subprocess.CalledProcessError: the server refused something; it says what on the error stream.
        """
        options = {
            "address": served.address,
            "model": self.model,
            "input-size": self.input_size,
            "streams": streams,
            "length": length,
            "warm-up": warm_up_seconds,
            "seconds": seconds,
            "server-pid": served.pid,
        }
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        line = subprocess.run(
            [str(self.program), *words],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, self.cores),
        ).stdout
        found: dict[str, float] = json.loads(line)
        return Side(
            steps_per_second=found["steps_per_second"],
            p50=found["p50_seconds"],
            p99=found["p99_seconds"],
            cpu_per_step=found["server_cpu_seconds"] / max(found["steps"], 1),
        )
