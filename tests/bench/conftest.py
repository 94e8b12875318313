"""The benchmarks are run from the repository's root, not installed."""

import os
import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)


@pytest.fixture(autouse=True)
def _servers_find_bench(monkeypatch: pytest.MonkeyPatch) -> None:
    # Servers and clients that the benchmarks start are processes of their own.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH")))))
