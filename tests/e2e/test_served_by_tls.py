"""`elman-server serve` by TLS: whom it serves, what it refuses to start with, and the commands that ask it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from certificates import Authority, Signed
from running import QUICK, Running, command

import elman
from elman_server.cli.main import main


class Tls:
    """A server whose certificate is of `elman.example`, and that asks callers for one of `theirs`."""

    def __init__(self, folder: Path, models: Path) -> None:
        self.ours, self.theirs = Authority(folder, "ours"), Authority(folder, "theirs")
        self.own = self.theirs.sign("caller")
        server = self.ours.sign("server", "elman.example")
        files = ("--tls-certificate", server.certificate, "--tls-key", server.key)
        self.log = folder / "log"
        with self.log.open("w") as log:
            options = map(str, (*files, "--tls-client-ca", self.theirs.certificate))
            self.running = Running(models, *options, stderr=log)
        self.target = self.running.address

    def client(self, own: Signed | None) -> elman.Client:
        key, chain = (path.read_bytes() for path in own) if own else (None, None)
        credentials = grpc.ssl_channel_credentials(self.ours.certificate.read_bytes(), key, chain)
        options = (("grpc.ssl_target_name_override", "elman.example"),)
        return elman.Client(self.target, tls=credentials, options=options, retry=None, timeout=60)

    def options(self, own: Signed | None) -> list[str]:
        """What a command is given that asks it."""
        given = ["--target", self.target, "--tls-server-ca", self.ours.certificate]
        given += ["--tls-server-name", "elman.example"]
        given += ["--tls-client-certificate", own.certificate, "--tls-client-key", own.key] if own else []
        return list(map(str, given))


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Tls]:
    tls = Tls(tmp_path_factory.mktemp("tls"), folder)
    yield tls
    tls.running.close()


def test_the_client_steps_a_session_and_the_log_names_the_files(tls: Tls) -> None:
    with tls.client(tls.own) as client, client.model("lstm").session() as session:
        assert session.step(np.zeros((2, 3), np.float32)).shape == (2, 5)
    (line,) = [line for line in tls.log.read_text().splitlines() if "TLS" in line]
    assert all(name in line for name in ("server.pem", "server.key", "theirs.pem"))


@pytest.mark.parametrize("own", ["none", "a stranger's"])
def test_a_client_without_a_certificate_of_that_authority_is_refused(tls: Tls, own: str) -> None:
    signed = tls.ours.sign("stranger") if own == "a stranger's" else None
    with tls.client(signed) as client, pytest.raises(elman.UnavailableError):
        client.model("lstm")


def test_a_client_without_tls_is_told_what_may_be_missing(tls: Tls, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        elman.Client(tls.target, retry=None, timeout=60) as client,
        pytest.raises(elman.UnavailableError, match=r"asks for TLS.*is `tls` given\?"),
    ):
        client.model("lstm")
    assert main(["models", "list", "--target", tls.target]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no server answers (Socket closed); is TLS asked for there" in line


def test_commands_ask_it_by_tls(tls: Tls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", *tls.options(tls.own)]) == 0
    assert capsys.readouterr().out == "SERVING\n"
    assert main(["sessions", "list", "lstm", *tls.options(tls.own)]) == 0
    assert main(["health", *tls.options(None)]) == 1


def test_a_command_says_why_it_does_not_trust_a_server_and_which_of_its_files_is_not_good(
    tls: Tls, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["health", "--target", tls.target, "--tls-server-name", "elman.example", "--tls-server-ca"]
    assert main([*given, str(tls.theirs.certificate)]) == 1
    assert "no server answers (unable to get local issuer certificate)" in capsys.readouterr().err
    assert main([*given, str(tls.ours.key)]) == 2
    assert "tls_server_ca: expected certificates in PEM, got something else in" in capsys.readouterr().err
    own = ["--tls-client-certificate", str(tls.own.certificate), "--tls-client-key", str(tls.theirs.key)]
    assert main([*given, str(tls.ours.certificate), *own]) == 2
    assert "tls_client_key: expected the private key of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tls-server-ca", "missing"], "tls_server_ca: missing cannot be read: No such file or directory"),
        (["--tls-server-name", "here"], "tls_server_ca: expected a file or default beside what else is of TLS"),
        (["--tls-client-key", "key"], "tls_client_certificate, tls_client_key: expected both or none, got one"),
    ],
)
def test_commands_refuse_what_makes_no_tls(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", *options]) == 2
    assert said in capsys.readouterr().err


def test_a_start_with_a_key_of_another_certificate_says_so(tls: Tls, folder: Path) -> None:
    files = ("--tls-certificate", tls.ours.certificate, "--tls-key", tls.theirs.key)
    start = command("serve", "--models", folder, "--listen", "127.0.0.1:0", *QUICK, *files)
    done = subprocess.run(start, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert "elman-server: tls_key: expected the private key of" in done.stderr.splitlines()[-1]
