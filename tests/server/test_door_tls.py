"""TLS of both doors: certificates from files, callers' own, and new files without a new start."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from certificates import Authority, Signed
from until import until

from elman_server.config.server_config import TlsConfig
from elman_server.door.native.server import NativeTransport
from elman_server.door.plain import PlainTransport
from elman_server.door.rpc.call import Call, Transport
from elman_server.door.rpc.certificates import CertificateError, CertificateFiles, files_of

GUARD_SECONDS = 120
OPTIONS = (("grpc.so_reuseport", 0),)


class Door:
    """A door by TLS that answers each message with itself."""

    def __init__(self, transport: Transport, files: CertificateFiles) -> None:
        self.transport = transport
        self.port = transport.add_secure_port("127.0.0.1:0", files)

    def called(self, call: Call) -> None:
        def received(message: bytes | None) -> None:
            if message is None:
                call.finish(grpc.StatusCode.OK)
            else:
                call.send(message, lambda _: call.receive(received))

        call.receive(received)

    def channel(self, authority: Authority | None, own: Signed | None = None) -> grpc.aio.Channel:
        """Of somebody who trusts that authority, with a certificate of its own or without; None: without TLS."""
        target = f"localhost:{self.port}"
        if authority is None:
            return grpc.aio.insecure_channel(target)
        key, chain = (path.read_bytes() for path in own) if own else (None, None)
        return grpc.aio.secure_channel(
            target, grpc.ssl_channel_credentials(authority.certificate.read_bytes(), key, chain)
        )

    async def ask(self, authority: Authority | None, own: Signed | None = None) -> bytes:
        """One call."""
        async with self.channel(authority, own) as channel:
            method: Any = channel.unary_unary("/test.Test/Ask")
            answer: bytes = await method(b"hello", timeout=GUARD_SECONDS)
            return answer

    async def until_answered(self, authority: Authority) -> None:
        """Returns once one is answered who trusts that authority alone."""
        async with asyncio.timeout(GUARD_SECONDS):
            while True:
                try:
                    await self.ask(authority)
                    return
                except grpc.aio.AioRpcError:  # it shows the former one still
                    await asyncio.sleep(0.1)


Start = Callable[[CertificateFiles], Awaitable[Door]]


@pytest.fixture(params=["native", "plain"])
async def start(request: pytest.FixtureRequest) -> AsyncIterator[Start]:
    """Starts doors of one kind; stops them at the end."""
    doors: list[Door] = []
    if request.param == "native":
        pytest.importorskip("elman_native")

    async def started(files: CertificateFiles) -> Door:
        transport: Transport = NativeTransport(OPTIONS) if request.param == "native" else PlainTransport(OPTIONS)
        doors.append(Door(transport, files))
        await transport.start(doors[-1].called)
        return doors[-1]

    yield started
    for door in doors:
        await door.transport.stop(0)


async def test_a_caller_that_trusts_the_certificate_is_answered_and_no_other_is(start: Start, tmp_path: Path) -> None:
    ours, others = Authority(tmp_path, "ours"), Authority(tmp_path, "others")
    door = await start(CertificateFiles(*ours.sign("server")))
    assert await door.ask(ours) == b"hello"
    for stranger in (others, None):
        with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
            await door.ask(stranger)
    assert await door.ask(ours) == b"hello"


async def test_with_an_authority_for_callers_only_those_are_answered_whom_it_has_signed(
    start: Start, tmp_path: Path
) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    door = await start(CertificateFiles(*ours.sign("server"), client_ca=theirs.certificate))
    assert await door.ask(ours, theirs.sign("caller")) == b"hello"
    for own in (None, ours.sign("stranger")):
        with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
            await door.ask(ours, own)


async def test_new_files_are_taken_up_while_it_serves_and_connections_that_there_are_live_on(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    now = Signed(tmp_path / "now.key", tmp_path / "now.pem")
    old.sign("first").put_in_place_of(now)
    door = await start(CertificateFiles(*now, refresh_seconds=1))
    async with door.channel(old) as channel:
        stream: Any = channel.stream_stream("/test.Test/Talk")()
        await stream.write(b"before")
        assert await stream.read() == b"before"
        new.sign("second").put_in_place_of(now)
        await door.until_answered(new)
        await stream.write(b"after")
        assert await asyncio.wait_for(stream.read(), GUARD_SECONDS) == b"after"
    with pytest.raises(grpc.aio.AioRpcError, match="UNAVAILABLE"):
        await door.ask(old)
    await asyncio.wait_for(until(lambda: "the certificates have changed: new" in caplog.text), GUARD_SECONDS)


async def test_new_files_that_are_not_good_are_told_and_good_ones_are_taken_up_after_them(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, new = Authority(tmp_path, "ours"), Authority(tmp_path, "new")
    now = ours.sign("server")
    door = await start(CertificateFiles(*now, refresh_seconds=1))
    now.key.write_text("no key\n")
    async with asyncio.timeout(GUARD_SECONDS):
        while not ("are not good" in caplog.text and str(now.key) in caplog.text):
            with contextlib.suppress(grpc.aio.AioRpcError):
                await door.ask(ours)  # the plain door looks when somebody comes
            await asyncio.sleep(0.1)
    new.sign("second").put_in_place_of(now)
    await door.until_answered(new)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"tls_certificate": "missing.pem"}, r"^tls_certificate: .*missing\.pem cannot be read: No such file"),
        ({"tls_key": "missing.key"}, r"^tls_key: .*missing\.key cannot be read: No such file"),
        ({"tls_client_ca": "missing.pem"}, r"^tls_client_ca: .*missing\.pem cannot be read: No such file"),
        (
            {"tls_certificate": "noise"},
            r"^tls_certificate: expected certificates in PEM, got something else in .*noise",
        ),
        ({"tls_client_ca": "noise"}, r"^tls_client_ca: expected certificates in PEM, got something else in .*noise"),
        ({"tls_client_ca": "ours.key"}, r"^tls_client_ca: expected certificates in PEM, got something else in .*key"),
        ({"tls_key": "noise"}, r"^tls_key: expected the private key of .*server\.pem .* got no such key in .*noise"),
        ({"tls_key": "ours.key"}, r"^tls_key: expected the private key of .*server\.pem .* got another key in .*ours"),
        ({"tls_key": None}, r"^tls_key: expected a file beside tls_certificate, .*server\.pem, got none"),
        ({"tls_certificate": None}, r"^tls_certificate: expected a file beside tls_key, .*server\.key, got none"),
        ({"tls_certificate": None, "tls_key": None}, r"^tls_certificate: expected a file beside tls_client_ca, .*pem"),
    ],
)
def test_files_that_are_not_good_are_refused_by_the_name_of_the_setting(
    tmp_path: Path, wrong: dict[str, str | None], message: str
) -> None:
    ours = Authority(tmp_path, "ours")
    key, certificate = ours.sign("server")
    (tmp_path / "noise").write_bytes(b"\x00\xffnoise")
    good = {"tls_certificate": certificate, "tls_key": key, "tls_client_ca": ours.certificate}
    assert files_of(TlsConfig(**good)) == CertificateFiles(key, certificate, ours.certificate)
    with pytest.raises(CertificateError, match=message):
        files_of(TlsConfig(**good | {name: value and tmp_path / value for name, value in wrong.items()}))


def test_without_settings_there_is_no_tls() -> None:
    assert files_of(TlsConfig()) is None
