"""The end-to-end tests use what the server's and the models' tests are made of."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))
sys.path.insert(0, str(Path(__file__).parents[1] / "models"))  # whose networks are served

from packed_networks import every_network  # noqa: F401
from served import folder, serve  # noqa: F401


@pytest.fixture(autouse=True)
def _commands_wait_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default a command gives up as a probe should; a busy machine answers later than that."""
    monkeypatch.setenv("ELMAN_TIMEOUT_SECONDS", "120")
