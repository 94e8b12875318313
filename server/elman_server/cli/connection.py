"""How commands reach a running server, and how what it refuses is told."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from elman_server.cli.command import fail
from elman_server.config.server_config import ConnectionConfig
from elman_server.config.settings import SettingsError, read_config

_REFUSED = {
    grpc.StatusCode.UNAVAILABLE: "no server answers",
    grpc.StatusCode.UNIMPLEMENTED: "what answers there is no elman server",
}
"""What a person is told first where a code says more than its details do."""


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
        except SettingsError as error:
            return fail(str(error), 2)
        try:
            with _channel(settings.target) as channel:
                return command(Connection(channel, settings.timeout_seconds), given)
        except grpc.RpcError as error:
            return fail(f"{settings.target}: {explain(error, settings.timeout_seconds)}")

    return run


def explain(error: Any, timeout_seconds: float | None = None) -> str:
    """What a call failed of, in one line without gRPC's own words."""
    code, details = error.code(), " ".join((error.details() or "").split())
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "no answer in time" if timeout_seconds is None else f"no answer within {timeout_seconds:g} s"
    if code in _REFUSED:
        # gRPC nests causes: the last is the one that means something, as "Connection refused".
        cause = details.rpartition(": ")[2].rstrip("]")
        return f"{_REFUSED[code]}{f' ({cause})' if cause else ''}"
    return details or code.name


@contextmanager
def _channel(target: str) -> Iterator[grpc.Channel]:
    options = (("grpc.max_receive_message_length", 64 << 20), ("grpc.enable_http_proxy", 0))
    with grpc.insecure_channel(target, options) as channel:
        yield channel
