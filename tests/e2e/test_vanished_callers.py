"""Callers whose machine vanished: nothing comes of them any more, and no connection ends."""

import asyncio
from pathlib import Path

from http2_wire import HELLO, Wire, opening
from served import Serve
from until import until

from elman_server.config.server_config import ServerConfig
from elman_server.door.rpc.channel_options import channel_options

STEP = "/elman.v1.Inference/Step"
GUARD_SECONDS = 60


async def test_a_connection_that_answers_nothing_is_ended_with_its_calls(serve: Serve) -> None:
    served = await serve("lstm", keepalive=0.2)
    callers = served.server.door.callers
    async with asyncio.timeout(GUARD_SECONDS):
        async with Wire(int(served.server.address.rpartition(":")[2])) as wire:
            await wire.write(HELLO + opening(1, STEP))
            await wire.closed()
        await until(lambda: not (callers._callers or len(served.server._inference._streams)))


def test_what_is_set_is_said_to_grpc_and_ordinary_callers_may_ask_likewise() -> None:
    config = ServerConfig(models=Path("x"), keepalive_seconds=2.5, keepalive_timeout_seconds=1)
    options = dict(channel_options(config))
    assert (options["grpc.keepalive_time_ms"], options["grpc.keepalive_timeout_ms"]) == (2500, 1000)
    assert options["grpc.http2.ping_timeout_ms"] == 1000
    assert options["grpc.http2.max_pings_without_data"] == 0
    assert options["grpc.http2.min_ping_interval_without_data_ms"] < 10_000
    assert options["grpc.keepalive_permit_without_calls"] == 1
    never = dict(channel_options(ServerConfig(models=Path("x"), keepalive_seconds=None)))
    assert never["grpc.keepalive_time_ms"] == (1 << 31) - 1
