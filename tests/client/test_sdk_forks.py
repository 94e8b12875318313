"""Processes that fork beside a client, and the fork's own. Each is a program of its own, with the server in another."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
SERVE = """
import sys
from elman.testing import FakeModel, FakeServer
with FakeServer([FakeModel("sum", input_size=2)]) as address:
    print(address, flush=True)
    sys.stdin.read()
"""
TIMEOUT_SECONDS = 240


@pytest.fixture(scope="module")
def other_process() -> Iterator[str]:
    """The address of a fake server in a process of its own, so that the one that forks is a client and nothing else."""
    command = [sys.executable, "-c", SERVE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        assert process.stdin is not None
        process.stdin.close()


def run(program: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, str(FOLDER / program), *arguments], capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_fork_of_a_process_that_closed_its_client_has_one_of_its_own(other_process):
    assert run("forking.py", other_process, "closed") == ["1.0 1.0"]


def test_a_fork_of_a_process_with_an_open_client_has_one_of_its_own_and_the_parents_goes_on(other_process):
    assert run("forking.py", other_process, "open_and_used") == ["1.0 True"] * 3


def test_forks_while_a_thread_steps_lose_no_step_and_apply_none_twice_even_without_retries(other_process):
    assert run("forking.py", other_process, "stepping") == ["1.0 True"]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system tells of no threads")
def test_nothing_of_grpc_runs_when_the_process_forks_not_even_what_ends_it(other_process):
    assert run("forking.py", other_process, "at_rest") == ["[] True"]


def test_a_kept_exception_keeps_no_call_that_a_fork_would_trip_over(other_process):
    assert run("forking.py", other_process, "failed") == ["1.0 UnknownModelError", "1.0"]


def test_every_call_of_an_inherited_client_says_that_it_was_inherited_and_closing_is_quiet(other_process):
    assert run("forking.py", other_process, "inherited") == [str(["ForkError"] * 9 + ["None"]), "1.0"]


def test_a_client_that_was_inherited_unused_is_not_used_either(other_process):
    assert run("forking.py", other_process, "unused") == ["ForkError 1.0 1.0"]


def test_beside_an_open_async_client_a_fork_is_told_so_and_after_it_closed_works(other_process):
    assert run("forking.py", other_process, "of_coroutines") == ["ForkError ForkError ForkError", "1.0"]


@pytest.mark.parametrize("order", ["closed", "open"])
def test_workers_of_a_data_loader_have_clients_of_their_own(other_process, order):
    pytest.importorskip("torch")
    assert run("loading.py", other_process, order) == ["[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]"] * 2
