"""Compiled functions: never of older source than the package's, and wherever there is a folder to keep them or none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import elman_server
from elman_server.tables.source_key import source_key

PACKAGE = Path(elman_server.__file__).parent

OUTER = "from elman_server.tables.jit import jit\nfrom elman_server.inner.{file} import inner\n\n\n"
OUTER += "@jit\ndef outer() -> int:\n    return inner()\n"
INNER = "from elman_server.tables.jit import jit\nfrom elman_server.inner.constants import {name} as ONE\n\n\n"
INNER += "@jit\ndef inner() -> int:\n    return {value} + ONE\n"


def run(code: str, **environment: str) -> str:
    """What a process of this Python prints, in this environment."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "XDG_", "HOME"))}
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=kept | environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A package of elman's name with the real decorator and three files, two of them in a package of its own."""
    package = tmp_path / "source" / "elman_server"
    for name in ("inner", "tables"):
        (package / name).mkdir(parents=True)
    for name in ("tables/jit.py", "tables/source_key.py"):
        shutil.copy(PACKAGE / name, package / name)
    for name in ("__init__.py", "inner/__init__.py", "tables/__init__.py", "beside.py"):
        (package / name).touch()
    (package / "outer.py").write_text(OUTER.format(file="called"))
    (package / "inner" / "called.py").write_text(INNER.format(value=1, name="ONE"))
    (package / "inner" / "constants.py").write_text("ONE = 1\nTEN = 10\n")
    return package


def outer(package: Path, tmp_path: Path) -> int:
    code = "from elman_server.outer import outer; print(outer())"
    where = {"PYTHONPATH": str(package.parent), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    return int(run(code, **where, PYTHONDONTWRITEBYTECODE="1"))


def test_a_function_is_compiled_anew_when_what_it_calls_in_a_sub_package_changes(small: Path, tmp_path: Path) -> None:
    assert outer(small, tmp_path) == 2
    (small / "inner" / "called.py").write_text(INNER.format(value=5, name="ONE"))
    assert outer(small, tmp_path) == 6
    (small / "inner" / "called.py").rename(small / "inner" / "moved.py")
    (small / "outer.py").write_text(OUTER.format(file="moved"))
    assert outer(small, tmp_path) == 6


def test_a_function_is_compiled_anew_when_a_constant_changes_that_it_names(small: Path, tmp_path: Path) -> None:
    assert outer(small, tmp_path) == 2
    (small / "inner" / "constants.py").write_text("ONE = 7\n")
    assert outer(small, tmp_path) == 8


def test_what_is_kept_outlives_changes_of_what_no_compiled_function_imports(small: Path) -> None:
    before = source_key(small, b"@jit")
    (small / "beside.py").write_text("x = 1\n")
    assert source_key(small, b"@jit") == before


@pytest.mark.parametrize(
    "text",
    [
        "from .. import beside",
        "from ..beside import x",
        "import elman_server.beside",
        "from elman_server import beside",
    ],
)
def test_the_key_follows_every_kind_of_import(small: Path, text: str) -> None:
    with (small / "inner" / "constants.py").open("a") as file:
        file.write(f"{text}\n")
    before = source_key(small, b"@jit")
    (small / "beside.py").write_text("x = 1\n")
    assert source_key(small, b"@jit") != before


OBSERVE = """
from elman_server.tables.jit import CACHE
from elman_server.telemetry.histogram import Histogram

tally = Histogram([1.0])
tally.observe(0.5)
assert tally.counts.tolist() == [1, 0]
print(CACHE.reason if CACHE.folder is None else CACHE.folder)
"""
HOMELESS = """
import pwd

def nobody(uid):
    raise KeyError(uid)

pwd.getpwuid = nobody
"""
PREPARATION = """
import logging
import torch
from elman_server.config.server_config import ServerConfig
from elman_server.models.loading import Preparation

logging.basicConfig(format="%(message)s", stream=__import__("sys").stdout)
assert Preparation(ServerConfig(models="x"), torch.device("cpu"))._cache is None
"""


def numba_files() -> set[Path]:
    return {path for pattern in ("*.nbi", "*.nbc") for path in PACKAGE.rglob(pattern)}


@pytest.mark.parametrize("cache", ["/proc", "/dev/null"], ids=["read-only", "no folder"])
def test_where_nothing_can_be_written_all_works_and_nothing_is_kept_beside_the_source(cache: str) -> None:
    before = numba_files()
    assert run(OBSERVE, XDG_CACHE_HOME=cache).startswith("[Errno ")
    assert numba_files() == before


def test_without_a_home_folder_all_works_and_nothing_is_kept() -> None:
    before = numba_files()
    assert run(HOMELESS + OBSERVE) == "Could not determine home directory."
    assert numba_files() == before


def test_without_a_home_folder_plans_are_not_kept_and_the_log_says_so() -> None:
    assert run(HOMELESS + PREPARATION).startswith("plans are not kept, so each start measures them: cache ~/.cache/")


def test_code_is_kept_where_numba_is_told_to_keep_it_apart_by_key(tmp_path: Path) -> None:
    folder = Path(run(OBSERVE, NUMBA_CACHE_DIR=str(tmp_path)))
    assert folder == tmp_path / source_key(PACKAGE, b"@jit")
    assert list(folder.rglob("*.nbc"))


def test_other_peoples_functions_are_kept_where_they_were_and_their_processor_is_the_users_choice(
    tmp_path: Path,
) -> None:
    code = "import elman_server.telemetry.histogram, numba.core.config as c; print(repr(c.CACHE_DIR), c.CPU_NAME)"
    assert run(code, XDG_CACHE_HOME=str(tmp_path)) == "'' generic"
    assert run(code, XDG_CACHE_HOME=str(tmp_path), NUMBA_CPU_NAME="x86-64") == "'' x86-64"
