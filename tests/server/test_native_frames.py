"""The native door alone: frames of one row become columns, columns become answers, and garbage harms nobody."""

import asyncio
import os
from functools import partial
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_door import GUARD_SECONDS, IDLE, INSTANCE, OPENED, OVER, RNG, STEP, RawDoor, frame

from elman.v1.inference_pb2 import StepRequest, StepResponse

NUM_MUTATED = int(os.environ.get("ELMAN_FUZZ_MESSAGES", "2000"))


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
    assert raw.counts() == [max(1, len(request.handles)) for request in odd]
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
    raw.door.set_room(raw.caller, 0, 0)  # so that what is written is told at once
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
    await raw.until(lambda: sum(num_bytes for _, _, num_bytes in raw.sent) == 8 * n)
    assert sum(rows for _, rows, _ in raw.sent) == f
    await raw.end()


async def test_what_follows_answers_comes_after_them(raw: RawDoor) -> None:
    stream, call = await raw.stream()
    count, rounds = 1000, 5
    for first in range(0, rounds * count, count):
        raw.door.answer(
            call=np.full(count, call, np.uint64),
            caller=np.full(count, raw.caller),
            frame_id=np.arange(first, first + count, dtype=np.uint64),
            start=np.zeros(count, np.int64),
            length=np.ones(count, np.int64),
            finished=np.ones(count, np.bool_),
            position=np.ones(count, np.int64),
            num_bytes=np.zeros(count, np.int64),
            output=None,
            is_last=False,
            h_n=None,
            c_n=None,
        )
    raw.door.send(call, b"then")
    raw.door.finish(call, 0, "", [], None)
    messages = [message async for message in stream]
    assert [StepResponse.FromString(message).frame_id for message in messages[:-1]] == list(range(rounds * count))
    assert messages[-1] == b"then"


async def test_no_more_is_read_from_a_caller_than_it_has_room_for(raw: RawDoor) -> None:
    stream, _ = await raw.stream()
    await stream.write(frame().SerializeToString())
    await raw.until(lambda: raw.num_come() == 1)
    raw.door.set_room(raw.caller, 2, 1)
    for _ in range(5):
        await stream.write(frame().SerializeToString())
    await raw.until(lambda: raw.num_come() >= 3)
    other = raw.channel.stream_stream(STEP)()  # what is read after those has come before it
    await raw.until(lambda: sum(kind == OPENED for _, kind, _ in raw.events) == 2)
    assert raw.num_come() == 3
    raw.door.set_room(raw.caller, 100, 2)
    await raw.until(lambda: raw.num_come() == 6)
    other.cancel()


async def test_a_message_of_many_rows_takes_as_much_room_as_it_has_rows(raw: RawDoor) -> None:
    stream, _ = await raw.stream()
    raw.door.set_room(raw.caller, 10, 0)
    message = StepRequest(handles=range(4), lengths=[1] * 4).SerializeToString()
    for _ in range(6):
        await stream.write(message)
    await raw.until(lambda: len(raw.counts()) == 3)
    other = raw.channel.stream_stream(STEP)()  # what comes after it has come after those
    await raw.until(lambda: sum(kind == OPENED for _, kind, _ in raw.events) == 2)
    assert raw.counts() == [4, 4, 4]
    raw.door.set_room(raw.caller, 10, 8)
    await raw.until(lambda: len(raw.counts()) == 5)
    raw.door.set_room(raw.caller, 10, 12)
    await raw.until(lambda: len(raw.counts()) == 6)
    other.cancel()


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (b"\x11" + bytes(8), 1),  # one that is not packed
        ((b"\x11" + bytes(8)) * 3 + b"\x12\x10" + bytes(16), 5),
        (b"\x12\x10" + bytes(16) + b"\xff" * 11, 2),  # noise behind them
        (b"\x12\x10" + bytes(8), 1),  # fewer than it says
        (b"\x12\x10" + bytes(16) + b"\x10\1\xfd\1" + bytes(4), 2),  # a varint of their number; an unknown field
        (b"\x13\x14" + b"\x12\x10" + bytes(16), 1),  # a group
        (b"", 1),
    ],
)
async def test_rows_are_counted_of_whatever_comes(raw: RawDoor, data: bytes, count: int) -> None:
    stream, _ = await raw.stream()
    await stream.write(data)
    await raw.until(lambda: raw.num_come() == 1)
    assert raw.counts() == [count]


async def test_answers_to_those_who_went_away_are_settled(raw: RawDoor) -> None:
    stream, call = await raw.stream()
    await stream.write(frame().SerializeToString())
    await raw.until(lambda: raw.num_come() == 1)
    stream.cancel()
    await raw.until(lambda: any(kind == OVER for _, kind, _ in raw.events))
    raw.door.answer_frames([(call, raw.caller, b"late", 1, 40)])
    assert raw.door.take_streams()[1] == [(raw.caller, 1, 40)]


async def test_a_stream_is_idle_once_every_frame_is_answered(raw: RawDoor) -> None:
    stream, call = await raw.stream()
    await stream.write(frame().SerializeToString())
    await raw.until(lambda: raw.num_come() == 1)
    raw.door.tell_idle(call)
    raw.door.take_streams()
    assert not any(kind == IDLE for _, kind, _ in raw.events)
    raw.door.answer_frames([(call, raw.caller, StepResponse(frame_id=5).SerializeToString(), 1, 0)])
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


GOOD = frame().SerializeToString()
NOT_PROTOBUF = {
    "a tag of 0 at the end": GOOD + b"\0",
    "a tag of 0 at the end of the tensor": GOOD.replace(b"\x2a\x14", b"\x2a\x15").replace(b"8\1", b"\08\1"),
    "a tag of more than 32 bits": GOOD + b"\x88\x80\x80\x80\x90\x00\x05",
    "a varint of 11 bytes": GOOD + b"\x08" + b"\xff" * 10 + b"\1",
    "a varint without an end": GOOD + b"\x08\xff",
    "a length of 2**64 - 1": GOOD + b"\x4a" + b"\xff" * 9 + b"\1",
    "a length of 2**63": GOOD + b"\x4a" + b"\x80" * 9 + b"\1",
    "a length of 2**32": GOOD + b"\x4a\x80\x80\x80\x80\x10",
    "a length of one too many": GOOD + b"\x4a\2a",
}


@pytest.mark.parametrize("message", NOT_PROTOBUF.values(), ids=NOT_PROTOBUF.keys())
async def test_what_protobuf_does_not_read_is_no_frame(raw: RawDoor, message: bytes) -> None:
    with pytest.raises(DecodeError):
        StepRequest.FromString(message)
    stream, _ = await raw.stream()
    await stream.write(message)
    await raw.until(lambda: raw.num_come() == 1)
    assert raw.messages() == [message]


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
