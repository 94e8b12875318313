"""TLS in the native door: certificates from files, callers' own, and new files without a new start."""

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest

from elman_server.door.call import Call
from elman_server.door.native import CertificateFiles, NativeTransport

pytest.importorskip("elman_native")
if not shutil.which("openssl"):
    pytest.skip("no openssl to make certificates with", allow_module_level=True)

GUARD_SECONDS = 20
METHOD = "/test.Test/Ask"


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


class Authority:
    """One who signs certificates."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self.key, self.certificate = folder / f"{name}.key", folder / f"{name}.pem"
        new = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        run(*new, "-keyout", str(self.key), "-out", str(self.certificate), "-subj", f"/CN={name}", "-days", "2")

    def sign(self, name: str) -> tuple[Path, Path]:
        """A key and a certificate for localhost."""
        key, request, certificate = (self._folder / f"{name}.{end}" for end in ("key", "csr", "pem"))
        new = ("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        run(*new, "-keyout", str(key), "-out", str(request), "-subj", f"/CN={name}")
        names = self._folder / "names"
        names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        signed = ("-CA", str(self.certificate), "-CAkey", str(self.key), "-CAcreateserial", "-extfile", str(names))
        run("openssl", "x509", "-req", "-in", str(request), *signed, "-out", str(certificate), "-days", "2")
        return key, certificate


class Door:
    """A native door by TLS that answers each call with what it was sent."""

    def __init__(self, files: CertificateFiles) -> None:
        self.transport = NativeTransport((("grpc.so_reuseport", 0),))
        self.port = self.transport.add_secure_port("127.0.0.1:0", files)

    async def start(self) -> None:
        await self.transport.start(self._called)

    def _called(self, call: Call) -> None:
        def received(message: bytes | None) -> None:
            call.finish(grpc.StatusCode.OK, message=message)

        call.receive(received)

    async def ask(self, authority: Authority, own: tuple[Path, Path] | None = None) -> bytes:
        """One call of somebody who trusts that authority, with a certificate of its own or without."""
        key, chain = (path.read_bytes() for path in own) if own else (None, None)
        credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes(), key, chain)
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials) as channel:
            method: Any = channel.unary_unary(METHOD)
            answer: bytes = await method(b"hello", timeout=GUARD_SECONDS)
            return answer


async def test_a_caller_that_trusts_the_certificate_is_answered_and_one_that_does_not_is_not(tmp_path: Path) -> None:
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    door = Door(CertificateFiles(*ours.sign("server")))
    await door.start()
    assert await door.ask(ours) == b"hello"
    with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
        await door.ask(others)
    assert await door.ask(ours) == b"hello"
    await door.transport.stop(0)


async def test_with_an_authority_for_callers_only_those_are_answered_whom_it_has_signed(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    door = Door(CertificateFiles(*ours.sign("server"), client_ca=theirs.certificate))
    await door.start()
    assert await door.ask(ours, theirs.sign("caller")) == b"hello"
    for own in (None, ours.sign("stranger")):
        with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
            await door.ask(ours, own)
    await door.transport.stop(0)


async def test_new_files_are_taken_up_while_it_serves(tmp_path: Path) -> None:
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    key, chain = tmp_path / "now.key", tmp_path / "now.pem"
    for source, target in zip(old.sign("first"), (key, chain), strict=True):
        shutil.copy(source, target)
    door = Door(CertificateFiles(key, chain, refresh_seconds=1))
    await door.start()
    assert await door.ask(old) == b"hello"
    for source, target in zip(new.sign("second"), (key, chain), strict=True):
        shutil.copy(source, target)
    async with asyncio.timeout(GUARD_SECONDS):
        while True:
            try:
                assert await door.ask(new) == b"hello"
                break
            except grpc.aio.AioRpcError:  # it shows the old one still
                await asyncio.sleep(0.1)
    await door.transport.stop(0)


async def test_a_file_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    transport = NativeTransport()
    with pytest.raises(FileNotFoundError, match=r"missing\.key"):
        transport.add_secure_port("127.0.0.1:0", CertificateFiles(tmp_path / "missing.key", tmp_path / "missing.pem"))
