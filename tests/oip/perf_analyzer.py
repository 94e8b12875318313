"""NVIDIA's perf_analyzer, a binary in tritonclient's wheels of 2024, with the libraries that it leans on."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from client_venvs import SCRIPT_SECONDS, ClientVenv, NoClientError

VENV = "perf-analyzer-2.46"


@dataclass(frozen=True)
class PerfAnalyzer:
    """The binary."""

    path: Path
    libraries: Path

    def run(self, *arguments: str) -> str:
        """What it prints; it must not fail."""
        done = self._do(*arguments)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    @classmethod
    def of(cls, venv: ClientVenv) -> "PerfAnalyzer":
        """That of an environment.

        Raises:
            NoClientError: a library is missing: Debian's libb64-0d, say.
        """
        root = venv.python.parents[1]
        (runtime,) = root.glob("lib/python*/site-packages/nvidia/cuda_runtime/lib")
        found = cls(root / "bin" / "perf_analyzer", runtime)
        done = found._do("--version")
        if done.returncode:
            raise NoClientError(f"perf_analyzer does not start: {done.stderr.strip()}")
        return found

    def _do(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self.path, *arguments],
            capture_output=True,
            text=True,
            timeout=SCRIPT_SECONDS,
            env=os.environ | {"LD_LIBRARY_PATH": str(self.libraries)},
            check=False,
        )
