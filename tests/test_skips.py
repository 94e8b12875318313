"""What is skipped for want of a tool on somebody's machine is a failure in a CI."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPING = """
import pytest

def test_that_skips_for_want_of_a_tool():
    pytest.skip("pip could not make it")

@pytest.fixture
def tool():
    pytest.importorskip("no_such_tool")

def test_whose_fixture_skips(tool): ...

@pytest.mark.hardware
@pytest.mark.skipif(True, reason="no such instructions")
def test_that_this_machine_cannot_run(): ...

@pytest.mark.xfail
def test_that_is_known_to_fail():
    raise AssertionError
"""
FILE = "import pytest\n\npytest.importorskip('no_such_tool')\n"
INI = "[pytest]\nmarkers = hardware: a machine\n"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite with our conftest."""
    shutil.copy(Path(__file__).parent / "conftest.py", tmp_path)
    (tmp_path / "gpu").mkdir()
    (tmp_path / "pytest.ini").write_text(INI)
    (tmp_path / "test_tools.py").write_text(SKIPPING)
    (tmp_path / "gpu" / "test_gpu.py").write_text("import pytest\n\ndef test_cuda():\n    pytest.skip('no CUDA')\n")
    return tmp_path


def outcome(suite: Path, **environment: str) -> str:
    """What pytest says of a suite in such an environment."""
    told = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "CI"))} | environment
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(suite)]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=told, cwd=suite).stdout


@pytest.mark.parametrize("environment", [{}, {"CI": ""}, {"CI": "false"}], ids=str)
def test_a_missing_tool_is_a_skip_with_its_reason_on_a_machine_of_ones_own(
    suite: Path, environment: dict[str, str]
) -> None:
    assert "4 skipped, 1 xfailed" in outcome(suite, **environment)


def test_a_missing_tool_is_a_failure_in_a_ci_but_for_what_the_machine_is(suite: Path) -> None:
    said = outcome(suite, CI="true")
    assert "1 failed, 2 skipped, 1 xfailed, 1 error" in said
    assert "skipped in a CI, where all that tests need must be there: Skipped: pip could not make it" in said


def test_a_file_that_is_skipped_as_a_whole_is_a_failure_in_a_ci(suite: Path) -> None:
    (suite / "test_file.py").write_text(FILE)
    assert "1 error" in outcome(suite, CI="true")
