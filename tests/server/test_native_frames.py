"""The native door alone: frames of one row become columns, columns become answers, and garbage harms nobody."""

import asyncio
import os
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given, settings
from hypothesis import strategies as st

from elman.v1 import tensor_pb2
from elman.v1.inference_pb2 import StepRequest, StepResponse

elman_native = pytest.importorskip("elman_native")

OPENED, RECEIVED, READ_ALL, SENT, OVER, IDLE, FRAMES = range(7)
GUARD_SECONDS = 20
INSTANCE = "here"
NUM_MUTATED = int(os.environ.get("ELMAN_FUZZ_MESSAGES", "2000"))
RNG = np.random.default_rng(14)


class RawDoor:
    """A door without a server behind it, and streams to it."""

    def __init__(self) -> None:
        self.door = elman_native.Door({"grpc.so_reuseport": 0}, INSTANCE)
        self.door.add_port("127.0.0.1:0")
        (port,) = self.door.start()
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.caller = self.door.add_caller(1 << 30)
        self.events: list[Any] = []
        self.sent: list[Any] = []
        self._come = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.door.fileno(), self._take)

    def _take(self) -> None:
        events, sent = self.door.take_all()
        self.events += events
        self.sent += sent
        self._come.set()

    async def until(self, is_true: Any) -> None:
        """Returns once it is true of what has come."""
        async with asyncio.timeout(GUARD_SECONDS):
            while not is_true():
                self._come.clear()
                await self._come.wait()

    async def stream(self) -> tuple[Any, int]:
        """A stream in frames mode: the client's end, and the call's number."""
        known = {number for number, kind, _ in self.events if kind == OPENED}
        stream: Any = self.channel.stream_stream("/elman.v1.Inference/Step")()
        await self.until(lambda: {n for n, kind, _ in self.events if kind == OPENED} - known)
        (number,) = {n for n, kind, _ in self.events if kind == OPENED} - known
        self.door.begin_frames(number, self.caller)
        return stream, number

    def batches(self) -> list[Any]:
        return [payload for _, kind, payload in self.events if kind == FRAMES]

    def messages(self) -> list[bytes]:
        return [payload for _, kind, payload in self.events if kind == RECEIVED]

    def num_come(self) -> int:
        return sum(map(len, self.batches())) + len(self.messages())

    def has_come(self, count: int) -> bool:
        return self.num_come() == count

    async def end(self) -> None:
        await self.channel.close()
        await asyncio.to_thread(self.door.stop, 0.0)
        asyncio.get_running_loop().remove_reader(self.door.fileno())


@pytest.fixture
async def raw() -> AsyncIterator[RawDoor]:
    door = RawDoor()
    yield door
    await door.end()


def frame(
    *, handle: int = 7, length: int = 1, position: int | None = None, size: int = 3, seconds: float | None = None
) -> StepRequest:
    """A good frame of one row."""
    data = RNG.standard_normal((length, size), np.float32)
    tensor = tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_F32, shape=data.shape, data=data.tobytes())
    request = StepRequest(frame_id=5, handles=[handle], lengths=[length], input=tensor, return_state=True)
    if position is not None:
        request.positions.append(position)
    if seconds is not None:
        request.timeout.CopyFrom(Duration(seconds=int(seconds), nanos=int(seconds % 1 * 1e9)))
    return request


def is_single(request: StepRequest) -> bool:
    """Whether the door is to take it as a frame of one row."""
    timeout = request.timeout
    return (
        len(request.handles) == len(request.lengths) == 1
        and request.lengths[0] > 0
        and len(request.positions) <= 1
        and all(position < 1 << 62 for position in request.positions)
        and len(request.input.shape) <= 2
        and request.HasField("input")
        and request.return_output <= 3
        and timeout.seconds + timeout.nanos / 1e9 >= 0
        and request.server_instance in ("", INSTANCE)
    )


def assert_same(columns: dict[str, Any], data: np.ndarray[Any, Any], i: int, request: StepRequest) -> None:
    """Entry `i` says what the message says."""
    assert columns["frame_id"][i] == request.frame_id
    assert columns["handle"][i] == request.handles[0]
    assert columns["length"][i] == request.lengths[0]
    assert columns["position"][i] == (request.positions[0] if request.positions else -1)
    assert columns["dtype"][i] == request.input.dtype
    shape = list(request.input.shape)
    assert columns["num_dims"][i] == len(shape)
    assert [int(columns[f"dim_{d}"][i]) for d in range(len(shape))] == shape
    assert columns["return_output"][i] == request.return_output
    assert columns["return_state"][i] == request.return_state
    seconds = request.timeout.seconds + request.timeout.nanos / 1e9 if request.HasField("timeout") else np.inf
    assert columns["timeout_seconds"][i] == seconds
    assert data.tobytes() == request.input.data


async def test_frames_of_one_row_are_columns_and_others_are_messages(raw: RawDoor) -> None:
    stream, call = await raw.stream()
    good = [frame(), frame(length=4, position=0), frame(position=9, seconds=1.5), frame(size=0), frame(size=1)]
    good[0].server_instance = INSTANCE
    odd = [StepRequest(frame_id=1), frame(), frame(), frame(position=1 << 62), frame(seconds=3), StepRequest()]
    odd[1].handles.append(8)
    odd[2].server_instance = "elsewhere"
    odd[4].timeout.seconds = -1
    for request in [*good, *odd]:
        await stream.write(request.SerializeToString())
    await raw.until(lambda: raw.num_come() == len(good) + len(odd))
    assert [StepRequest.FromString(message) for message in raw.messages()] == odd
    seen = 0
    for batch in raw.batches():
        columns = batch.columns()
        for i in range(len(batch)):
            data = np.empty((1, int(columns["num_bytes"][i])), np.uint8)
            batch.gather(np.array([i]), data)
            assert_same(columns, data, i, good[seen])
            assert columns["call"][i] == call
            assert columns["caller"][i] == raw.caller
            assert StepRequest.FromString(batch.message(i)) == good[seen]
            seen += 1
    assert seen == len(good)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_an_answer_says_what_its_columns_say(data: st.DataObject) -> None:
    lengths = sorted(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=5)), reverse=True)
    finished = data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))
    kind = data.draw(st.sampled_from(["all", "last", "none"]))
    asyncio.run(_answered(np.array(lengths), np.array(finished), kind, data.draw(st.booleans())))


async def _answered(lengths: Any, finished: Any, kind: str, with_state: bool) -> None:
    raw = RawDoor()
    streams = [await raw.stream() for _ in lengths]
    n, f = len(lengths), int(finished.sum())
    starts, positions = RNG.integers(0, 2, n), RNG.integers(0, 1 << 40, n)
    output = RNG.standard_normal((int(lengths.sum()) if kind == "all" else f, 2), np.float32)
    h_n, c_n = (RNG.standard_normal((3, f, size), np.float32) for size in (2, 4))
    raw.door.set_room(raw.caller, 0)  # so that what is written is told at once
    raw.door.answer(
        call=np.array([call for _, call in streams], np.uint64),
        caller=np.full(n, raw.caller),
        frame_id=np.arange(n, dtype=np.uint64),
        start=starts,
        length=lengths,
        finished=finished,
        position=positions,
        num_bytes=np.full(n, 8),
        output=None if kind == "none" else output,
        is_last=kind == "last",
        h_n=h_n if with_state else None,
        c_n=c_n if with_state else None,
    )
    offsets = np.cumsum([0, *((lengths > t).sum() for t in range(lengths[0]))])
    for row, (stream, _) in enumerate(streams):
        answer = StepResponse.FromString(await asyncio.wait_for(stream.read(), GUARD_SECONDS))
        before = int(finished[:row].sum())
        assert answer.frame_id == row
        assert list(answer.starts) == ([starts[row]] if starts[row] else [])
        assert list(answer.lengths) == [lengths[row]]
        assert list(answer.finished) == ([0] if finished[row] else [])
        assert list(answer.positions) == ([positions[row]] if finished[row] else [])
        assert answer.HasField("output") == (kind != "none")
        if kind == "all":
            mine = output[[offsets[t] + row for t in range(lengths[row])]]
            assert (answer.output.data, list(answer.output.shape)) == (mine.tobytes(), [lengths[row], 2])
        if kind == "last":
            mine = output[before : before + 1] if finished[row] else output[:0]
            assert (answer.output.data, list(answer.output.shape)) == (mine.tobytes(), [len(mine), 2])
        for name, state in (("h_n", h_n), ("c_n", c_n)):
            assert answer.HasField(name) == (with_state and bool(finished[row]))
            if answer.HasField(name):
                tensor = getattr(answer, name)
                assert tensor.data == state[:, before : before + 1].tobytes()
                assert list(tensor.shape) == [3, 1, state.shape[2]]
    await raw.until(lambda: sum(rows for _, rows, _ in raw.sent) == f)
    assert sum(num_bytes for _, _, num_bytes in raw.sent) == 8 * n
    await raw.end()


async def test_no_more_is_read_from_a_caller_than_it_has_room_for(raw: RawDoor) -> None:
    stream, _ = await raw.stream()
    await stream.write(frame().SerializeToString())
    await raw.until(lambda: raw.num_come() == 1)
    raw.door.set_room(raw.caller, 2)
    for _ in range(5):
        await stream.write(frame().SerializeToString())
    other = raw.channel.stream_stream("/elman.v1.Inference/Step")()  # what comes after it has come after those
    await raw.until(lambda: sum(kind == OPENED for _, kind, _ in raw.events) == 2)
    assert raw.num_come() == 3
    raw.door.set_room(raw.caller, 100)
    await raw.until(lambda: raw.num_come() == 6)
    other.cancel()


async def test_answers_to_those_who_went_away_are_settled(raw: RawDoor) -> None:
    stream, call = await raw.stream()
    await stream.write(frame().SerializeToString())
    await raw.until(lambda: raw.num_come() == 1)
    stream.cancel()
    await raw.until(lambda: any(kind == OVER for _, kind, _ in raw.events))
    raw.door.answer_frame(call, raw.caller, b"late", 1, 40)
    assert raw.door.take_all()[1] == [(raw.caller, 1, 40)]


async def test_a_stream_is_idle_once_every_frame_is_answered(raw: RawDoor) -> None:
    stream, call = await raw.stream()
    await stream.write(frame().SerializeToString())
    await raw.until(lambda: raw.num_come() == 1)
    raw.door.tell_idle(call)
    raw.door.take_all()
    assert not any(kind == IDLE for _, kind, _ in raw.events)
    raw.door.answer_frame(call, raw.caller, StepResponse(frame_id=5).SerializeToString(), 1, 0)
    await raw.until(lambda: any(kind == IDLE for _, kind, _ in raw.events))
    assert StepResponse.FromString(await stream.read()).frame_id == 5


@pytest.mark.parametrize("column", ["frame_id", "start", "length", "finished", "position", "num_bytes", "output"])
async def test_columns_that_do_not_fit_are_refused(raw: RawDoor, column: str) -> None:
    columns: dict[str, Any] = {
        "call": np.array([1, 2], np.uint64),
        "caller": np.ones(2, np.int64),
        "frame_id": np.zeros(2, np.uint64),
        "start": np.zeros(2, np.int64),
        "length": np.ones(2, np.int64),
        "finished": np.ones(2, np.bool_),
        "position": np.zeros(2, np.int64),
        "num_bytes": np.zeros(2, np.int64),
        "output": np.zeros((2, 3), np.float32),
        "is_last": False,
        "h_n": None,
        "c_n": None,
    }
    raw.door.answer(**columns)
    columns[column] = columns[column][:1]
    with pytest.raises(ValueError, match=column):
        raw.door.answer(**columns)


def mutated(rng: np.random.Generator) -> bytes:
    """A frame of one row with some bytes changed, left out, doubled or put in."""
    good = frame(length=int(rng.integers(1, 4)), position=int(rng.integers(0, 9)), seconds=1.0).SerializeToString()
    data = bytearray(good)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(data))) if data else 0
        how = rng.integers(5)
        if how == 0 and data:
            data[at] = int(rng.integers(256))
        elif how == 1:
            del data[at : at + int(rng.integers(1, 9))]
        elif how == 2:
            data[at:at] = data[: int(rng.integers(12))]
        elif how == 3:
            data[at:at] = b"\xff" * int(rng.integers(1, 12))  # huge varints and lengths
        else:
            data = data[: at + 1]
    return bytes(data)


async def test_mutated_messages_are_read_as_protobuf_reads_them(raw: RawDoor) -> None:
    """What is taken as a frame of one row is one by protobuf's own reading; nothing is lost, and nobody is harmed."""
    rng = np.random.default_rng(NUM_MUTATED)
    stream, _ = await raw.stream()
    innocent, _ = await raw.stream()
    num_sent = 0
    for begin in range(0, NUM_MUTATED, 500):
        raw.events.clear()
        messages = [mutated(rng) for _ in range(min(500, NUM_MUTATED - begin))]
        for message in messages:
            await stream.write(message)
        await innocent.write(frame(handle=99).SerializeToString())
        num_sent += len(messages)
        await raw.until(partial(raw.has_come, len(messages) + 1))
        for batch in raw.batches():
            columns = batch.columns()
            for i in range(len(batch)):
                request = StepRequest.FromString(batch.message(i))
                assert is_single(request)
                data = np.empty((1, int(columns["num_bytes"][i])), np.uint8)
                batch.gather(np.array([i]), data)
                assert_same(columns, data, i, request)
    assert num_sent == NUM_MUTATED
