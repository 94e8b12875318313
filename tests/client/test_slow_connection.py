"""A server that is slow to answer a connection attempt."""

import asyncio

import elman
from elman.testing import FakeModel, FakeServer

DELAY_SECONDS = 0.5


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
    except ConnectionError:
        pass  # the other end went first
    finally:
        writer.close()


async def test_a_connection_that_is_slow_to_begin_is_waited_for_even_without_retries():
    with FakeServer([FakeModel("sum", input_size=2)]) as address:
        host, _, port = address.rpartition(":")

        relays: set[asyncio.Task[None]] = set()

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            relays.add(asyncio.current_task())
            await asyncio.sleep(DELAY_SECONDS)
            there, back = await asyncio.open_connection(host, int(port))
            await asyncio.gather(copy(reader, back), copy(there, writer))

        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        slow = "{}:{}".format(*server.sockets[0].getsockname())
        client = elman.AsyncClient(slow, retry=None)
        try:
            assert [model.name for model in await client.models()] == ["sum"]
        finally:
            await client.close()
            server.close()
            await asyncio.wait(relays)
