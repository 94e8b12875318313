"""The gRPC server: calls of each kind, how they fail and end, and that none disturbs another."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc import StatusCode

from elman.v1.inference_pb2 import StepRequest
from elman_server.door.native.server import NativeTransport
from elman_server.door.plain import PlainCall, PlainTransport
from elman_server.door.rpc.context import Context
from elman_server.door.rpc.handling import handle
from elman_server.door.rpc.server import RpcServer

GUARD_SECONDS = 120
Run = Callable[..., Awaitable["ServerOfBytes"]]

MAKERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


NATIVE = pytest.param(
    NativeTransport,
    marks=pytest.mark.skipif(not importlib.util.find_spec("elman_native"), reason="elman-native is not installed"),
)


class ServerOfBytes:
    """A server of bytes and a connection to it."""

    def __init__(self, server: RpcServer, address: str) -> None:
        self.server = server
        self.channel = grpc.aio.insecure_channel(address)
        self.unary: Any = self.channel.unary_unary("/test.Test/Unary")
        self.down: Any = self.channel.unary_stream("/test.Test/Down")
        self.up: Any = self.channel.stream_unary("/test.Test/Up")
        self.both: Any = self.channel.stream_stream("/test.Test/Both")


@pytest.fixture(params=[NATIVE, PlainTransport])
async def run(request: pytest.FixtureRequest) -> AsyncIterator[Run]:
    """Starts servers with methods of these kinds."""
    running: list[ServerOfBytes] = []

    async def start(
        *, unary: Any = None, down: Any = None, up: Any = None, both: Any = None, parse: Any = None
    ) -> ServerOfBytes:
        server = RpcServer(request.param())
        kinds = {"Unary": (unary, False, False), "Down": (down, False, True), "Up": (up, True, False)}
        kinds |= {"Both": (both, True, True)}
        handlers = {n: MAKERS[k[1:]](k[0], parse or bytes, bytes) for n, k in kinds.items() if k[0]}
        server.add_registered_method_handlers("test.Test", handlers)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        running.append(ServerOfBytes(server, f"127.0.0.1:{port}"))
        return running[-1]

    yield start
    for served in running:
        await served.channel.close()
        await asyncio.wait_for(served.server.stop(0.1), GUARD_SECONDS)


async def echo(request: bytes, _context: Context) -> bytes:
    return request


async def echo_all(_requests: object, context: Context) -> None:
    while (request := await context.read()) is not grpc.aio.EOF:
        await context.write(request)  # type: ignore[arg-type]


async def count(request: bytes, _context: Context) -> AsyncIterator[bytes]:
    for i in range(int(request)):
        yield b"%d" % i


async def failure(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call, GUARD_SECONDS)
    return caught.value


async def test_each_kind_of_call_is_served(run: Run) -> None:
    async def join(requests: AsyncIterator[bytes], _context: Context) -> bytes:
        return b"".join([request async for request in requests])

    served = await run(unary=echo, down=count, up=join, both=echo_all)
    assert await served.unary(b"a") == b"a"
    assert [one async for one in served.down(b"3")] == [b"0", b"1", b"2"]
    assert await served.up(iter([b"x", b"", b"y"])) == b"xy"
    assert [one async for one in served.both(iter([b"1", b"2"]))] == [b"1", b"2"]
    assert [one async for one in served.both(iter([]))] == []


async def test_messages_of_many_calls_arrive_in_order(run: Run) -> None:
    served = await run(both=echo_all)
    messages = [b"%d" % i for i in range(200)]
    answers = await asyncio.gather(*(collect(served.both(iter(messages))) for _ in range(8)))
    assert answers == [messages] * 8


async def collect(call: Any) -> list[bytes]:
    return [one async for one in call]


async def test_a_handler_knows_its_caller_and_its_time(run: Run) -> None:
    seen: list[Any] = []

    async def look(request: bytes, context: Context) -> bytes:
        seen.append((context.peer(), dict(context.invocation_metadata()).get("key"), context.time_remaining()))
        return request

    served = await run(unary=look)
    await served.unary(b"", metadata=(("key", "value"),))
    await served.unary(b"", timeout=60)
    (peer, key, without), (_, _, left) = seen
    assert peer.startswith("ipv4:127.0.0.1:")
    assert key == "value"
    assert without is None
    assert left == pytest.approx(60, abs=30)


async def test_an_abort_carries_its_status(run: Run) -> None:
    async def abort(_request: bytes, context: Context) -> bytes:
        await context.abort(StatusCode.ABORTED, "so it is", (("why-bin", b"\0\1"),))

    served = await run(unary=abort, both=abort)
    error = await failure(served.unary(b""))
    assert (error.code(), error.details()) == (StatusCode.ABORTED, "so it is")
    assert error.trailing_metadata()["why-bin"] == b"\0\1"
    assert (await failure(served.both().read())).code() is StatusCode.ABORTED


async def test_a_bug_in_a_handler_ends_its_call_alone(run: Run) -> None:
    async def fail(_request: bytes, _context: Context) -> bytes:
        raise ValueError("secret")

    served = await run(unary=fail, both=echo_all)
    beside = served.both()
    await beside.write(b"1")
    error = await failure(served.unary(b""))
    assert error.code() is StatusCode.UNKNOWN
    assert error.details() == "/test.Test/Unary failed inside the server: ValueError"
    assert await beside.read() == b"1"
    await beside.write(b"2")
    assert await beside.read() == b"2"


@pytest.mark.parametrize("kind", ["Down", "Both"])
async def test_a_write_that_fails_before_the_call_is_told_to_be_over_is_no_bug(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    call, handlers = (
        CallWithoutReader(),
        {"Down": MAKERS[False, True](count, bytes, bytes), "Both": MAKERS[True, True](echo_all, bytes, bytes)},
    )
    await handle(handlers[kind], call)
    assert call.ended_as is StatusCode.CANCELLED
    assert not caplog.records


class CallWithoutReader:
    """A call whose caller has gone; only writing shows it."""

    method, metadata, on_cancel, is_over = "/test.Test/Down", (), None, False
    ended_as: StatusCode | None = None

    def peer(self) -> str:
        return ""

    def time_remaining(self) -> None:
        return None

    def receive(self, then: Callable[[bytes | None], None]) -> None:
        then(b"3")

    def send(self, _message: bytes, then: Callable[[bool], None]) -> None:
        then(False)

    def finish(self, code: StatusCode, *_: object, **__: object) -> None:
        self.ended_as = self.ended_as or code


async def test_bytes_that_do_not_parse_are_an_error_of_the_call(run: Run) -> None:
    served = await run(unary=echo, both=echo_all, parse=StepRequest.FromString)
    for call in (served.unary(b"\xff"), served.both(iter([b"\xff"])).read()):
        error = await failure(call)
        assert error.code() is StatusCode.INTERNAL
        assert "does not parse" in (error.details() or "")


async def test_a_unary_call_without_a_message_is_refused(run: Run) -> None:
    served = await run(unary=echo)
    as_stream: Any = served.channel.stream_unary("/test.Test/Unary")
    error = await failure(as_stream(iter([])))
    assert (error.code(), error.details()) == (StatusCode.INTERNAL, "expected one message, got none")


async def test_an_unknown_method_is_named(run: Run) -> None:
    served = await run(unary=echo)
    error = await failure(served.down(b"").read())
    assert (error.code(), error.details()) == (StatusCode.UNIMPLEMENTED, "no method /test.Test/Down is served here")
    assert await served.unary(b"a") == b"a"


async def test_a_method_that_is_no_text_is_unknown_and_keeps_nobody_out(run: Run) -> None:
    served = await run(unary=echo)
    odd: Any = served.channel.unary_unary(b"/test.Test/\xff\xfe")
    error = await failure(odd(b""))
    assert error.code() in (StatusCode.UNIMPLEMENTED, StatusCode.UNKNOWN)  # grpc.aio decodes names before it asks
    assert await served.unary(b"a") == b"a"


@pytest.mark.parametrize("how", ["cancelled", "deadline"])
async def test_a_handler_is_cancelled_with_its_call(run: Run, how: str) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def wait(_request: bytes, _context: Context) -> bytes:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    served = await run(unary=wait)
    call = await begun(served, began, None if how == "cancelled" else 0.5)
    if how == "cancelled":
        call.cancel()
    await asyncio.wait_for(ended.wait(), GUARD_SECONDS)
    assert await call.code() is (StatusCode.CANCELLED if how == "cancelled" else StatusCode.DEADLINE_EXCEEDED)


async def begun(served: ServerOfBytes, began: asyncio.Event, seconds: float | None) -> Any:
    """A call that the server is at, with a deadline so many seconds away, or as many as that takes."""
    while True:
        call = served.unary(b"", timeout=seconds)
        over, at_it = asyncio.ensure_future(call.code()), asyncio.ensure_future(began.wait())
        await asyncio.wait((over, at_it), return_when=asyncio.FIRST_COMPLETED)
        at_it.cancel()
        if began.is_set():
            return call
        seconds = 2 * seconds if seconds else None  # it was over before it came to the handler


async def test_a_caller_that_does_not_read_is_not_written_to_without_end(run: Run) -> None:
    written = 0

    async def flood(_request: bytes, context: Context) -> None:
        nonlocal written
        while True:
            await context.write(bytes(1 << 16))  # type: ignore[arg-type]
            written += 1

    served = await run(down=flood, unary=echo)
    call = served.down(b"")
    await call.read()
    so_far = -1
    while so_far < written < 1000:  # until it stands still for as long as this takes
        so_far = written
        for _ in range(50):
            await served.unary(b"")
    assert written < 1000
    call.cancel()


async def test_stopping_waits_for_what_is_under_way_and_takes_nothing_more(run: Run) -> None:
    go_on = asyncio.Event()

    async def wait(request: bytes, _context: Context) -> bytes:
        await go_on.wait()
        return request

    served = await run(unary=wait, both=echo_all)
    call = asyncio.ensure_future(served.unary(b"late"))
    stream = served.both()
    await stream.write(b"1")
    assert await stream.read() == b"1"
    stopping = asyncio.create_task(served.server.stop(GUARD_SECONDS))
    await asyncio.sleep(0)
    # By gRPC itself, where it comes before its connection knows.
    assert (await failure(served.unary(b"too late"))).code() in (StatusCode.UNAVAILABLE, StatusCode.CANCELLED)
    await stream.write(b"2")
    assert await stream.read() == b"2"
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert not stopping.done()
    go_on.set()
    assert await asyncio.wait_for(call, GUARD_SECONDS) == b"late"
    await asyncio.wait_for(stopping, GUARD_SECONDS)


async def test_stopping_ends_what_goes_on_for_too_long(run: Run) -> None:
    began, ended = asyncio.Semaphore(0), list[str]()

    async def linger(_request: object, context: Context) -> bytes:
        began.release()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(context.call.method)
        return b""

    served = await run(unary=linger, both=linger)
    calls = [asyncio.ensure_future(served.unary(b"")), asyncio.ensure_future(served.both().read())]
    for _ in calls:
        await asyncio.wait_for(began.acquire(), GUARD_SECONDS)
    await asyncio.wait_for(served.server.stop(0), GUARD_SECONDS)
    assert sorted(ended) == ["/test.Test/Both", "/test.Test/Unary"]
    for call in calls:
        await failure(call)


async def test_whoever_stops_a_server_that_is_stopping_waits_for_the_same_end(run: Run) -> None:
    served = await run(both=echo_all)
    stream = served.both()
    await stream.write(b"1")
    assert await stream.read() == b"1"
    first = asyncio.create_task(served.server.stop(GUARD_SECONDS))
    await asyncio.sleep(0)
    second = asyncio.create_task(served.server.stop(0))
    first.cancel()
    await stream.write(b"2")
    assert await stream.read() == b"2"
    assert not second.done()
    await stream.done_writing()
    await asyncio.wait_for(second, GUARD_SECONDS)
    assert first.cancelled()


@pytest.mark.parametrize("transport", [NATIVE, PlainTransport])
async def test_a_port_in_use_is_an_error(transport: Any) -> None:
    options = (("grpc.so_reuseport", 0),)
    first, second = RpcServer(transport(options)), RpcServer(transport(options))
    port = first.add_insecure_port("127.0.0.1:0")
    with pytest.raises(OSError, match=f"127.0.0.1:{port}"):
        second.add_insecure_port(f"127.0.0.1:{port}")
    await first.stop(0)
    await second.stop(0)


async def test_whoever_waits_for_a_message_of_a_call_that_ends_before_its_turn_is_told() -> None:
    class Context:
        def invocation_metadata(self) -> tuple[()]:
            return ()

    call, told = PlainCall("/test.Test/Both", Context()), list[object]()
    call.receive(told.append)
    call.send(b"x", told.append)
    call._end()
    await asyncio.sleep(0.01)
    assert told == [None, False]
    call.receive(told.append)
    call.send(b"x", told.append)
    await asyncio.sleep(0.01)
    assert told == [None, False] * 2
