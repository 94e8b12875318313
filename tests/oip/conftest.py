"""A server process for real clients, and one in this process for raw stubs."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from client_venvs import CLIENTS, ClientVenv, NoClientError, client_venv
from perf_analyzer import VENV, PerfAnalyzer
from server_process import server_process

sys.path.insert(0, str(Path(__file__).parents[1] / "server"))
sys.path.insert(0, str(Path(__file__).parents[1] / "models"))
sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))

from packed_networks import every_network  # noqa: F401
from served import folder, serve  # noqa: F401

TRITON = [name for name in CLIENTS if name.startswith("triton")]


def missing(text: str) -> NoReturn:
    """Skips the tests of a client that cannot be had here; in CI (CI=true) they fail, since nobody looks at skips."""
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


def venv_or_skip(name: str) -> ClientVenv:
    """The client's environment; without it its tests are skipped, or fail in a CI."""
    try:
        return client_venv(name)
    except NoClientError as error:
        missing(f"pip could not make {name}: {error}")


@pytest.fixture(scope="session", params=TRITON)
def triton(request: pytest.FixtureRequest) -> ClientVenv:
    """Each version of tritonclient."""
    return venv_or_skip(request.param)


@pytest.fixture(scope="session")
def kserve() -> ClientVenv:
    """KServe's own client."""
    return venv_or_skip("kserve-0.21")


@pytest.fixture(scope="session")
def perf_analyzer() -> PerfAnalyzer:
    """NVIDIA's load generator."""
    try:
        return PerfAnalyzer.of(venv_or_skip(VENV))
    except NoClientError as error:
        missing(str(error))


@pytest.fixture(scope="session")
def address(folder: Path) -> Iterator[str]:  # noqa: F811
    """Of a server of every toy."""
    with server_process(folder) as address:
        yield address
