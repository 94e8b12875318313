"""`elman-server serve` as a process."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

QUICK = ("--metrics-listen", "127.0.0.1:0", "--warm-up-seconds", "0", "--device", "cpu", "--threads", "1")
READY = re.compile(r"serving (.+) on (\S+) \(cpu\); (?:metrics on http://(\S+)/metrics|no metrics)")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "elman_server", *map(str, arguments)]


class Running:
    """A server process."""

    def __init__(self, folder: Path, *options: str, script: str = "", stderr: Any = subprocess.DEVNULL) -> None:
        """`script`: run instead of the module."""
        given = command("serve", "--models", folder, "--listen", "127.0.0.1:0", *QUICK, *options)
        if script:
            given[1:3] = ["-c", script]
        self.process = subprocess.Popen(given, stdout=subprocess.PIPE, stderr=stderr, text=True)
        assert self.process.stdout
        match = READY.search(self.process.stdout.readline())
        assert match
        self.models, self.address, self.metrics = match.groups("")

    def stop(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(120)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()
