"""How commands reach a running server, and how what it refuses is told."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from elman_server.call_errors import explain
from elman_server.cli.command import fail
from elman_server.config.server_config import ConnectionConfig
from elman_server.config.settings import SettingsError, read_config
from elman_server.door.rpc.certificates import CertificateError, check_certificates, check_key

DEFAULT = "default"
"""In place of a file: the authorities that gRPC trusts by itself."""


class Connection:
    """A channel to a server, whose calls are bounded in time."""

    def __init__(self, channel: grpc.Channel, timeout_seconds: float) -> None:
        self.channel = channel
        self._timeout_seconds = timeout_seconds

    def call(self, method: Any, request: Any) -> Any:
        """The answer of a stub's method. Raises grpc.RpcError."""
        return method(request, timeout=self._timeout_seconds)


def connected(
    command: Callable[[Connection, argparse.Namespace], int], config: type[ConnectionConfig] = ConnectionConfig
) -> Callable[[argparse.Namespace], int]:
    """A command that talks to a server: what goes wrong on the way is told in one line, with code 1."""

    def run(given: argparse.Namespace) -> int:
        try:
            settings = read_config(config, given)
            credentials = credentials_of(settings)
        except SettingsError as error:
            return fail(str(error), 2)
        try:
            with _channel(settings, credentials) as channel:
                return command(Connection(channel, settings.timeout_seconds), given)
        except grpc.RpcError as error:
            return fail(f"{settings.target}: {explain(error, settings.timeout_seconds)}{_hint(error)}")

    return run


def credentials_of(settings: ConnectionConfig) -> grpc.ChannelCredentials | None:
    """Those of the settings; None: without TLS.

    Raises:
        SettingsError: a file cannot be read or is of another kind, or there is one too few.
    """
    ca, certificate, key = settings.tls_server_ca, settings.tls_client_certificate, settings.tls_client_key
    if bool(certificate) != bool(key):
        raise SettingsError("tls_client_certificate, tls_client_key: expected both or none, got one")
    if ca is None:
        if certificate or settings.tls_server_name:
            raise SettingsError(f"tls_server_ca: expected a file or {DEFAULT} beside what else is of TLS, got none")
        return None
    is_default = str(ca) == DEFAULT
    try:
        if not is_default:
            check_certificates("tls_server_ca", ca)
        if certificate and key:
            check_certificates("tls_client_certificate", certificate)
            check_key("tls_client_key", certificate, key)
    except CertificateError as error:
        raise SettingsError(str(error)) from error
    own = (key.read_bytes(), certificate.read_bytes()) if certificate and key else ()
    return grpc.ssl_channel_credentials(None if is_default else ca.read_bytes(), *own)


def _hint(error: Any) -> str:
    details = (error.details() or "") if error.code() is grpc.StatusCode.UNAVAILABLE else ""
    if details.endswith("Socket closed"):
        return "; is TLS asked for there, or a certificate of the caller's (tls_server_ca, ...)?"
    return "; it does not speak TLS, and tls_server_ca is given" if "WRONG_VERSION_NUMBER" in details else ""


@contextmanager
def _channel(settings: ConnectionConfig, credentials: grpc.ChannelCredentials | None) -> Iterator[grpc.Channel]:
    options: list[tuple[str, str | int]] = [
        ("grpc.max_receive_message_length", 64 << 20),
        ("grpc.enable_http_proxy", 0),
    ]
    if credentials is None:
        with grpc.insecure_channel(settings.target, options) as channel:
            yield channel
        return
    if settings.tls_server_name:
        options.append(("grpc.ssl_target_name_override", settings.tls_server_name))
    with grpc.secure_channel(settings.target, credentials, options) as channel:
        yield channel
