"""gRPC's channel arguments, which both doors take."""

from collections.abc import Sequence

from elman_server.config.server_config import ServerConfig

Options = Sequence[tuple[str, int]]

MAX_MESSAGE_BYTES = 64 << 20
"""What gRPC itself takes and gives; the server's own limit on frames is lower, so that it can say so itself."""
MIN_CALLER_PING_MS = 5_000
"""Callers that ask more often than that whether the server is there are disconnected. Every 10 s is common, and what is
sent so may come sooner."""
NEVER_MS = (1 << 31) - 1


def channel_options(config: ServerConfig) -> Options:
    """A server's channel arguments, by gRPC's names."""
    timeout_ms = _milliseconds(config.keepalive_timeout_seconds)
    return (
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.so_reuseport", 0),  # two servers on one port would share its callers at random
        ("grpc.keepalive_time_ms", _milliseconds(config.keepalive_seconds)),
        ("grpc.keepalive_timeout_ms", timeout_ms),
        ("grpc.http2.ping_timeout_ms", timeout_ms),  # newer gRPC waits for either; of itself a minute for this one
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),  # as many as it takes
        ("grpc.http2.min_ping_interval_without_data_ms", MIN_CALLER_PING_MS),
    )


def _milliseconds(seconds: float | None) -> int:
    return NEVER_MS if seconds is None else min(NEVER_MS, max(1, round(seconds * 1000)))
