"""The wheel, in an empty environment."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

CLIENT = Path(__file__).parents[2] / "client"

SCRIPT = """
import importlib.util, sys
import numpy as np
import elman, elman.testing

for absent in ("torch", "elman_server", "elman_models"):
    assert importlib.util.find_spec(absent) is None, absent
assert sys.prefix in elman.__file__, elman.__file__
with elman.testing.FakeServer() as address, elman.Client(address) as client:
    with client.model("fake").session() as session:
        assert session.step([[1.0], [1.0]]).tolist() == [[1.0], [1.5]]
        assert session.state().position == 2
print("stepped")
"""


def run(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no build folder is left in the source."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "client"
    source.mkdir()
    run("cp", "-r", CLIENT / "elman", CLIENT / "pyproject.toml", CLIENT / "README.md", source)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, source)
    return next(folder.glob("elman-*.whl"))


def test_the_wheel_holds_the_stubs_and_the_types(wheel):
    names = run(sys.executable, "-m", "zipfile", "-l", wheel)
    for name in ("elman/py.typed", "elman/v1/inference_pb2.pyi"):
        assert name in names


def test_the_wheel_holds_every_module_of_the_source(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(CLIENT)) for path in (CLIENT / "elman").rglob("*.py")}
    assert {"elman/_shared/errors.py", "elman/testing/__init__.py", "elman/v1/__init__.py"} < modules <= names


def test_the_wheel_works_where_nothing_else_is_installed(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--disable-pip-version-check", wheel)
    assert run(python, "-E", "-W", "error", "-c", SCRIPT).strip() == "stepped"
