"""Whatever comes to the native door: innocents are answered rightly, every row ends once, nothing is left behind."""

import asyncio
import ctypes
import os
import resource
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from frames_on_wire import Stepper, make_frame
from http2_wire import HELLO, SETTINGS, Wire, http2_frame, message, opening, reset
from raw_door import GUARD_SECONDS, OPENED, OVER, STEP, RawDoor, elman_native, frame
from served import DOOR, Serve, Served
from toys import SPECS, assert_near, random_input, toy

from elman.v1.inference_pb2 import StepRequest, StepResponse

assert elman_native
if DOOR == "plain":
    pytest.skip("ELMAN_DOOR=plain asks for servers without the native door", allow_module_level=True)

SPEC = SPECS["lstm"]
RNG = np.random.default_rng(1)
MIB = 1 << 20
NUM_RESETS = 5000
NUM_TAKEN_IN, MORE = 6000, 1000
"""Calls that have begun and ended for which there is room before anybody takes them in; and with so many more, none."""
LIBC = ctypes.CDLL(None)
NUM_IDLE = 5000
GARBAGE = {
    "nothing": b"",
    "noise": RNG.bytes(5000),
    "another protocol": b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
    "half a preface": HELLO[:10],
    "noise after the preface": HELLO + RNG.bytes(5000),
    "a frame longer than it may be": HELLO + b"\xff\xff\xff" + RNG.bytes(6),
    "half a frame": HELLO + opening(1, STEP)[:-5],
    "headers that are noise": HELLO + http2_frame(1, 4, 1, RNG.bytes(300)),
    "settings that are noise": HELLO + http2_frame(SETTINGS, 0, 0, RNG.bytes(60)),
    "half a message": HELLO + opening(1, STEP) + message(1, b"half", length=1000),
    "a message as long as may be said": HELLO + opening(1, STEP) + message(1, b"long", length=2**32 - 1),
    "a message said to be compressed": HELLO + opening(1, STEP) + http2_frame(0, 0, 1, b"\1\0\0\0\4abcd"),
    "a number of a stream that is none": HELLO + opening(1, STEP) + message(77, b"lost") + message(0, b"lost"),
    "messages without an end": HELLO + opening(1, STEP) + message(1, RNG.bytes(3000)) * 50,
}


def resident_bytes() -> int:
    """Of this process, and so of both ends of what is between them."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def ask_raw(raw: RawDoor, stream: Any) -> None:
    """A frame of one row comes as it was sent, and its answer too."""
    request = frame()
    raw.events.clear()
    await stream.write(request.SerializeToString())
    await raw.until(lambda: raw.num_come() == 1)
    (batch,) = raw.batches()
    assert StepRequest.FromString(batch.message(0)) == request
    call = int(batch.columns()["call"][0])
    raw.door.answer_frames([(call, raw.caller, StepResponse(frame_id=request.frame_id).SerializeToString(), 1, 0)])
    answer = await asyncio.wait_for(stream.read(), GUARD_SECONDS)
    assert StepResponse.FromString(answer).frame_id == request.frame_id


async def ending(stream: Any) -> grpc.StatusCode:
    """How a stream ends, once all that came before was read."""
    async with asyncio.timeout(GUARD_SECONDS):
        try:
            while await stream.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError:
            pass
        code: grpc.StatusCode = await stream.code()
        return code


async def empty(door: Any, *, but: int) -> None:
    """Returns once no call is left but so many."""
    async with asyncio.timeout(GUARD_SECONDS):
        while door.num_calls > but:  # noqa: ASYNC110 - gRPC's threads tell it to nobody
            await asyncio.sleep(0.001)


class Innocent:
    """A session of one who does nothing wrong; it must equal torch.nn."""

    def __init__(self, stepper: Stepper, handle: int) -> None:
        self._stepper = stepper
        self._handle = handle
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    @classmethod
    async def begin(cls, served: Served) -> "Innocent":
        return cls(await served.step(), (await served.open("lstm", count=1)).handles[0])

    async def step(self) -> None:
        self._inputs.append(random_input(SPEC, RNG, 1))
        ask = await asyncio.wait_for(self._stepper.ask([self._handle], self._inputs[-1:]), GUARD_SECONDS)
        self._outputs.append(ask.rows[0].output)

    async def end(self, served: Served) -> None:
        """Asks a last time; all was right, and nothing is left in the server, of itself and of others."""
        await self.step()
        assert_near(np.concatenate(self._outputs), toy("lstm").run(np.concatenate(self._inputs))[0])
        assert await self._stepper.end() is grpc.StatusCode.OK
        await empty(native(served), but=0)
        await served.health_of("")  # the loop has taken in what was written before
        async with asyncio.timeout(GUARD_SECONDS):
            while served.server._inference._streams or native(served).num_callers:
                await served.health_of("")
        assert not any(tables(served))
        await served.assert_all_released()


def native(served: Served) -> Any:
    """The extension's door of a server."""
    transport: Any = served.server._grpc._transport
    return transport.door


def tables(served: Served) -> tuple[Any, ...]:
    """What a server keeps of frames of one row that came by its native door, and of those whose they are."""
    rows: Any = served.server._inference._single_rows
    read: Any = rows.read_ahead
    return rows._open, rows._streams, read._callers, read._numbers, read._full


def port_of(served: Served) -> int:
    return int(served.server.address.rpartition(":")[2])


@pytest.fixture
async def served(serve: Serve) -> AsyncIterator[Served]:
    """A server that an innocent uses before and after whatever a test does, and from which nothing is missing then."""
    served = await serve("lstm", max_caller_rows=64, max_caller_bytes=MIB, max_frame_bytes=32 * MIB)
    innocent = await Innocent.begin(served)
    await innocent.step()
    yield served
    await innocent.end(served)


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_on_the_port_harms_nobody(raw: RawDoor, garbage: bytes) -> None:
    innocent, _ = await raw.stream()
    await ask_raw(raw, innocent)
    for _ in range(20):
        async with Wire(raw.port) as wire:
            await wire.write(garbage)
            await ask_raw(raw, innocent)
    await empty(raw.door, but=1)
    await ask_raw(raw, innocent)


async def test_garbage_on_a_server_s_port_harms_nobody(served: Served) -> None:
    for garbage in GARBAGE.values():
        async with Wire(port_of(served)) as wire:
            await wire.write(garbage)
            await served.health_of("")


def opened_and_reset(first: int, count: int, *messages: bytes) -> bytes:
    """Calls that end as soon as they have begun."""
    numbers = range(2 * first + 1, 2 * (first + count), 2)
    return b"".join(opening(n, STEP) + b"".join(message(n, data) for data in messages) + reset(n) for n in numbers)


async def test_streams_that_are_reset_at_once_begin_and_end_once_each(raw: RawDoor) -> None:
    innocent, number = await raw.stream()
    async with Wire(raw.port) as wire:
        await wire.write(HELLO)
        for first in range(0, NUM_RESETS, 500):
            await wire.write(opened_and_reset(first, 500))
    await empty(raw.door, but=1)
    await raw.until(lambda: sum(kind == OVER for _, kind, _ in raw.events) == len(opened(raw)) - 1)
    happened = Counter((call, kind) for call, kind, _ in raw.events)
    assert set(happened.values()) == {1}
    assert number in opened(raw)
    await ask_raw(raw, innocent)


def opened(raw: RawDoor) -> set[int]:
    return {call for call, kind, _ in raw.events if kind == OPENED}


async def test_a_server_lives_through_streams_that_are_reset_at_once_and_its_memory_comes_back(served: Served) -> None:
    handle = (await served.open("lstm", count=1)).handles[0]
    good = make_frame(1, [handle], [random_input(SPEC, RNG, 1)]).SerializeToString()
    sizes = []
    for _ in range(3):
        async with Wire(port_of(served)) as wire:
            await wire.write(HELLO)
            for first in range(0, NUM_RESETS, 500):
                await wire.write(opened_and_reset(first, 500, good))
                await served.health_of("")
        await empty(native(served), but=1)
        LIBC.malloc_trim(0)  # what the allocator keeps differs, with what else runs
        sizes.append(resident_bytes())
    assert sizes[-1] - sizes[0] < 64 * MIB


async def test_more_calls_than_are_taken_in_are_refused_in_words_and_memory_stays_bounded(raw: RawDoor) -> None:
    innocent, _ = await raw.stream()
    raw.rest()
    before = resident_bytes()
    async with Wire(raw.port) as wire:
        await wire.write(HELLO)
        await fill(raw, wire)
        assert "try again later" in await refused(raw)
        await wire.write(opened_and_reset(NUM_TAKEN_IN + MORE, NUM_RESETS))
        assert "try again later" in await refused(raw)
    assert resident_bytes() - before < 512 * MIB
    raw.read_on()
    await empty(raw.door, but=1)
    await ask_raw(raw, innocent)


async def fill(raw: RawDoor, wire: Wire) -> None:
    """So many calls begin, and end but for the last, that no more are taken in. Those that come and end faster than
    they are looked at are forgotten by gRPC itself: each is awaited."""
    for first in range(0, NUM_TAKEN_IN, MORE):
        numbers = range(2 * first + 1, 2 * (first + MORE), 2)
        await wire.write(b"".join(opening(n, STEP) for n in numbers))
        await at_least(raw.door, MORE + 1)
        await wire.write(b"".join(reset(n) for n in numbers))
        await empty(raw.door, but=1)
    await wire.write(b"".join(opening(2 * (NUM_TAKEN_IN + n) + 1, STEP) for n in range(MORE)))


async def at_least(door: Any, count: int) -> None:
    """Returns once there are so many calls."""
    async with asyncio.timeout(GUARD_SECONDS):
        while door.num_calls < count:  # noqa: ASYNC110 - gRPC's threads tell it to nobody
            await asyncio.sleep(0.001)


async def refused(raw: RawDoor) -> str:
    """What is said to a call that is refused; there will be one. Those that are taken in instead wait."""
    asked: dict[asyncio.Task[grpc.StatusCode], Any] = {}
    async with asyncio.timeout(GUARD_SECONDS):
        while not any(task.done() for task in asked):
            late: Any = raw.channel.stream_stream(STEP)()
            asked[asyncio.create_task(late.code())] = late
            await asyncio.wait(asked, timeout=1, return_when=asyncio.FIRST_COMPLETED)
    ended = next(late for task, late in asked.items() if task.done())
    for task, late in asked.items():
        late.cancel()
        await task
    assert await ended.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    return str(await ended.details())


async def test_a_reader_that_never_reads_is_read_no_further_than_its_limit(served: Served) -> None:
    """Its answers wait in the server: no more than its limit, however much it asks."""
    opened = await served.open("lstm", count=8)
    streams = served.server._inference._streams
    others = {stream.caller for stream in streams}
    before = resident_bytes()
    async with Wire(port_of(served)) as wire:
        await wire.write(HELLO + http2_frame(SETTINGS, 0, 0, b"\0\4\0\0\0\0"))  # a window of no bytes
        await wire.write(opening(1, STEP))
        asked = [
            make_frame(n, [opened.handles[n % 8]], [random_input(SPEC, RNG, 1)]).SerializeToString()
            for n in range(1000)
        ]
        await wire.write(b"".join(message(1, data) for data in asked))
        async with asyncio.timeout(GUARD_SECONDS):
            while not any(stream.caller.is_full for stream in streams):
                await served.health_of("")
        (caller,) = {stream.caller for stream in streams} - others
        for _ in range(50):
            await served.health_of("")
            assert caller.rows <= 64 + 1
    assert resident_bytes() - before < 64 * MIB


async def test_a_frame_with_a_million_rows_is_refused_in_words(served: Served) -> None:
    stepper = await served.step()
    rows = StepRequest(frame_id=1, handles=range(1_000_000), lengths=[1] * 1_000_000)
    refusal = (await stepper.ask_raw(rows)).refusal
    assert refusal
    assert refusal.code == "RESOURCE_EXHAUSTED"
    assert "1000000 came" in refusal.message
    assert await stepper.end() is grpc.StatusCode.OK


BAD_MESSAGES = {
    "a huge varint": b"\x08" + b"\xff" * 10 + b"\1",
    "a length that overflows": b"\x12" + b"\xff" * 9 + b"\1",
    "a length beyond the end": b"\x2a\xff\xff\xff\xff\x07",
    "noise": RNG.bytes(200),
}


@pytest.mark.parametrize("data", BAD_MESSAGES.values(), ids=BAD_MESSAGES.keys())
async def test_a_message_that_does_not_parse_ends_its_stream_alone(served: Served, data: bytes) -> None:
    stream: Any = served.channel.stream_stream(STEP)()
    await stream.write(data)
    assert await ending(stream) in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL)


async def test_thousands_of_idle_connections_cost_a_bounded_memory_and_give_it_back(served: Served) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(NUM_IDLE, (min(hard, 1 << 20) - 2000) // 2)  # both ends are in this process
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * count + 2000), hard))
    before, fds, sizes = resident_bytes(), num_open_files(), []
    for _ in range(2):
        async with AsyncExitStack() as stack:
            for _ in range(count):
                await (await stack.enter_async_context(Wire(port_of(served)))).write(HELLO)
            await served.health_of("")
            assert resident_bytes() - before < count * MIB // 4
        async with asyncio.timeout(GUARD_SECONDS):
            while num_open_files() > fds + 20:
                await served.health_of("")
        sizes.append(resident_bytes())
    assert sizes[1] - sizes[0] < 128 * MIB


def num_open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_a_stop_under_load_ends_every_row_once(serve: Serve) -> None:
    served = await serve("lstm")
    handles = (await served.open("lstm", count=32)).handles
    steppers = [await served.step() for _ in handles]
    pumps = [asyncio.create_task(pump(stepper, handle)) for stepper, handle in zip(steppers, handles, strict=True)]
    while not all(len(stepper.asks) > 5 for stepper in steppers):
        await served.health_of("")
    await asyncio.wait_for(served.server.stop(), GUARD_SECONDS)
    for outputs in await asyncio.wait_for(asyncio.gather(*pumps), GUARD_SECONDS):
        inputs = np.concatenate([given for given, _ in outputs])
        assert_near(np.concatenate([output for _, output in outputs]), toy("lstm").run(inputs)[0])
    assert native(served).num_calls == 0
    assert not any(tables(served))


async def pump(stepper: Stepper, handle: int) -> list[tuple[Any, Any]]:
    """Steps until the server stops; each chunk that was applied, and its output."""
    applied: list[tuple[Any, Any]] = []
    while True:
        chunk = random_input(SPEC, RNG, 1)
        try:
            ask = await stepper.ask([handle], [chunk])
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError, AssertionError):
            # The second by the client itself, where it writes to a stream that has ended.
            assert await ending(stepper.call) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
            return applied
        if ask.refusal or ask.rows[0].error:
            refusal = ask.refusal or ask.rows[0].error
            assert refusal
            assert refusal.code == "UNAVAILABLE"
            return applied
        applied.append((chunk, ask.rows[0].output))


async def test_a_door_that_stops_with_frames_on_their_way_tells_the_end_of_every_call_once(raw: RawDoor) -> None:
    streams = [await raw.stream() for _ in range(32)]
    for stream, _ in streams:
        for _ in range(20):
            await stream.write(frame().SerializeToString())
    await raw.until(lambda: raw.num_come() == 32 * 20)
    raw.door.set_room(raw.caller, 0, 0)  # so that what is written is told at once
    stopping = asyncio.create_task(asyncio.to_thread(raw.door.stop, 0.0))
    for batch in raw.batches():
        for call in batch.columns()["call"].tolist():
            raw.door.answer_frames([(call, raw.caller, b"late", 1, 10)])
            await asyncio.sleep(0)
    await stopping
    raw.take()
    assert sum(rows for _, rows, _ in raw.sent) == 32 * 20
    assert Counter(call for call, kind, _ in raw.events if kind == OVER) == Counter(call for _, call in streams)
    assert raw.door.num_calls == 0
