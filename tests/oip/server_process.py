"""A server in a process of its own: its protobuf names are those of the clients under test."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ADDRESS = re.compile(r" on (127\.0\.0\.1:\d+)")
STOP_SECONDS = 60


@contextmanager
def server_process(models: Path, *options: str) -> Iterator[str]:
    """Its address."""
    command = [sys.executable, "-m", "elman_server", "serve", "--models", str(models), "--threads", "1"]
    command += ["--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout
    try:
        line = process.stdout.readline()
        found = ADDRESS.search(line)
        assert found, f"the server said {line!r}"
        yield found[1]
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
        process.stdout.close()
