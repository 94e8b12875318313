"""Virtual environments of the clients that the tests drive, outside the repository and kept between runs."""

import fcntl
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PIP_SECONDS = 600
SCRIPT_SECONDS = 120
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "elman" / "venvs"

CLIENTS = {
    "triton-2.73": "tritonclient[grpc]==2.73.0",
    "triton-2.48": "tritonclient[grpc]==2.48.0",
    "kserve-0.21": "kserve==0.21.0",
    "perf-analyzer-2.46": "tritonclient[grpc]==2.46.0 nvidia-cuda-runtime-cu12",
}
"""What to install; 2.48 is of 2024, 2.46 the last one with perf_analyzer in it."""


class NoClientError(Exception):
    """pip could not make the environment."""


@dataclass(frozen=True)
class ClientVenv:
    """One environment, without anything of ours in it."""

    python: Path

    def run(self, script: Path, *arguments: object) -> str:
        """What a script prints; it must not fail."""
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        done = subprocess.run(
            [self.python, script, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=SCRIPT_SECONDS,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, f"{script.name}:\n{done.stdout}\n{done.stderr}"
        return done.stdout


def client_venv(name: str) -> ClientVenv:
    """The environment of that client, made if it is not there.

    Raises:
        NoClientError: pip could not.
    """
    folder, requirement = CACHE / name, CLIENTS[name]
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be making it
        stamp = folder / ".requirement"
        if not (stamp.is_file() and stamp.read_text() == requirement):
            _make(folder, requirement)
            stamp.write_text(requirement)
    return ClientVenv(folder / "bin" / "python")


def _make(folder: Path, requirement: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _do([sys.executable, "-m", "venv", folder])
    _do([folder / "bin" / "python", "-m", "pip", "install", "--quiet", *requirement.split()])


def _do(command: list[str | Path]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=PIP_SECONDS)
    except (subprocess.SubprocessError, OSError) as error:
        raise NoClientError(f"{error}: {getattr(error, 'stderr', '') or ''}"[-2000:]) from error
