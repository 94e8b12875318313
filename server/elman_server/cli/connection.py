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


@contextmanager
def _channel(target: str) -> Iterator[grpc.Channel]:
    options = (("grpc.max_receive_message_length", 64 << 20), ("grpc.enable_http_proxy", 0))
    with grpc.insecure_channel(target, options) as channel:
        yield channel
