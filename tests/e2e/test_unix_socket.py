"""`--listen unix:PATH`: served there, nobody else's file touched, and gone at the end."""

import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from running import QUICK, Running, command

import elman
from elman_server.cli.main import main


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "elman.sock"


@pytest.fixture
def running(folder: Path, path: Path) -> Iterator[Running]:
    server = Running(folder, "--listen", f"unix:{path}")
    yield server
    server.close()


def refused(folder: Path, path: Path) -> str:
    """What a server that must not start says."""
    start = command("serve", "--models", folder, *QUICK, "--listen", f"unix:{path}")
    done = subprocess.run(start, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


def test_sessions_are_stepped_over_it_and_it_is_gone_after_the_stop(
    running: Running, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert running.address == f"unix:{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with elman.Client(running.address) as client, client.model("lstm").session() as session:
        assert session.step(np.zeros((2, 3), np.float32)).shape == (2, 5)
    assert main(["health", "--target", running.address]) == 0
    assert capsys.readouterr().out == "SERVING\n"
    assert running.stop(signal.SIGTERM) == 0
    assert not path.exists()


def test_whom_the_mode_lets_in_may_write_to_it(folder: Path, path: Path) -> None:
    server = Running(folder, "--listen", f"unix:{path}", "--socket-mode", "660")
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
    finally:
        server.close()


def test_what_a_killed_server_left_is_taken_over(folder: Path, path: Path) -> None:
    Running(folder, "--listen", f"unix:{path}").close()
    assert path.is_socket()
    again = Running(folder, "--listen", f"unix:{path}")
    try:
        assert main(["health", "--target", again.address]) == 0
    finally:
        again.close()


def test_a_living_servers_socket_is_left_to_it(running: Running, folder: Path, path: Path) -> None:
    assert refused(folder, path) == f"elman-server: cannot listen on unix:{path}: a server listens there"
    assert main(["health", "--target", running.address]) == 0


def test_a_file_that_is_no_socket_is_left_alone(folder: Path, path: Path) -> None:
    path.write_text("precious")
    assert refused(folder, path).endswith("a file that is no socket is there")
    assert path.read_text() == "precious"


def test_a_folder_that_is_not_there_is_named(folder: Path, tmp_path: Path) -> None:
    assert refused(folder, tmp_path / "no" / "elman.sock").endswith(f"there is no folder {tmp_path / 'no'}")


def test_a_name_that_does_not_resolve_and_a_port_in_use_are_told_apart(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for address, says in (
            (f"127.0.0.1:{taken.getsockname()[1]}", "Address already in use"),
            ("nosuch.invalid:1", "not known"),
        ):
            start = command("serve", "--models", folder, *QUICK, "--listen", address)
            done = subprocess.run(start, capture_output=True, text=True, check=False, timeout=120)
            assert done.returncode == 1
            (line,) = done.stderr.splitlines()
            assert f"cannot listen on {address}: " in line
            assert says in line
