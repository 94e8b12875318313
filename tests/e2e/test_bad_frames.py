"""Every way in which a frame or a row of it can be wrong, over the wire; and that the neighbours are unharmed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from engine_gate import EngineGate
from forged import flipped
from frames_on_wire import Stepper, make_frame
from served import Serve, Served
from stepped_engine import FakeClock
from toys import SPECS, assert_near, random_input, toy

from elman import wire
from elman.v1 import inference_pb2, tensor_pb2

RNG = np.random.default_rng(4)
SPEC = SPECS["lstm"]


class Neighbour:
    """A session that goes on whatever happens to others, and must equal torch.nn at the end."""

    def __init__(self, stepper: Stepper, handle: int) -> None:
        self.stepper = stepper
        self.handle = handle
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    @classmethod
    async def move_in(cls, served: Served, stepper: Stepper) -> "Neighbour":
        neighbour = cls(stepper, (await served.open("lstm", count=1)).handles[0])
        await neighbour.step()
        return neighbour

    def next(self) -> Any:
        self._inputs.append(random_input(SPEC, RNG, 2))
        return self._inputs[-1]

    async def step(self) -> None:
        ask = await self.stepper.ask([self.handle], [self.next()])
        self.take(ask.rows[0])

    def take(self, row: Any) -> None:
        assert row.error is None
        self._outputs.append(row.output)

    async def assert_unharmed(self) -> None:
        await self.step()
        assert_near(np.concatenate(self._outputs), toy("lstm").run(np.concatenate(self._inputs))[0])


@dataclass(frozen=True)
class Bad:
    """A frame of two handles, wrong in one way, and what its refusal says."""

    change: Callable[[Any], None]
    says: tuple[str, ...]
    code: str = "INVALID_ARGUMENT"
    reason: str = "INVALID_INPUT"


def set_input(array: Any, **fields: Any) -> Callable[[Any], None]:
    def change(frame: Any) -> None:
        frame.input.CopyFrom(wire.to_tensor(array))
        for name, value in fields.items():
            setattr(frame.input, name, value)

    return change


def set_lengths(*lengths: int) -> Callable[[Any], None]:
    return lambda frame: (frame.lengths.__delitem__(slice(None)), frame.lengths.extend(lengths))


def cut_bytes(frame: Any) -> None:
    frame.input.data = frame.input.data[:-1]


BAD_FRAMES = {
    "a wrong feature size": Bad(set_input(np.zeros((4, 7), np.float32)), ("[4, 3]", "[4, 7]")),
    "one dimension too few": Bad(set_input(np.zeros(12, np.float32)), ("[4, 3]", "[12]")),
    "a wrong dtype": Bad(set_input(np.zeros((4, 3), np.int64)), ("F32", "I64")),
    "half precision where the model has single": Bad(set_input(np.zeros((4, 3), np.float16)), ("F32", "F16")),
    "an unknown dtype": Bad(lambda f: setattr(f.input, "dtype", 9), ("dtype", "9")),
    "no dtype": Bad(lambda f: f.input.ClearField("dtype"), ("dtype", "F32", "UNSPECIFIED")),
    "no input": Bad(lambda f: f.ClearField("input"), ("dtype",)),
    "too few bytes": Bad(cut_bytes, ("48 bytes", "got 47")),
    "a negative dimension": Bad(lambda f: f.input.shape.__setitem__(0, -4), ("at least 0", "-4")),
    "no lengths": Bad(set_lengths(), ("expected 2", "got 0")),
    "too many lengths": Bad(set_lengths(2, 1, 1), ("expected 2", "got 3")),
    "zero steps": Bad(set_lengths(4, 0), ("at least 1", "0")),
    "lengths that increase": Bad(set_lengths(1, 3), ("non-increasing", "[1, 3]")),
    "lengths that do not add up": Bad(set_lengths(3, 2), ("[5, 3]", "[4, 3]")),
    "lengths beyond all bounds": Bad(set_lengths(2**32 - 1, 2**32 - 1), (str(2**33 - 2), "[4, 3]")),
    "a repeated handle": Bad(lambda f: f.handles.__setitem__(1, f.handles[0]), ("repeated",)),
    "no handles": Bad(lambda f: f.ClearField("handles"), ("at least one",)),
    "too many positions": Bad(lambda f: f.positions.extend([0, 0, 0]), ("expected 2", "got 3")),
    "a position beyond all bounds": Bad(lambda f: f.positions.extend([0, 2**63]), ("2^62", str(2**63))),
    "an unknown return": Bad(lambda f: setattr(f, "return_output", 17), ("0 to 3", "17")),
    "a negative timeout": Bad(lambda f: f.timeout.FromSeconds(-3), ("0 or more", "-3")),
    "another server's name": Bad(
        lambda f: setattr(f, "server_instance", "elsewhere"), ("elsewhere", "attach again"), "ABORTED", "RE_ATTACH"
    ),
}


async def test_a_bad_frame_is_refused_whole_and_nothing_else_is_harmed(serve: Serve) -> None:
    served = await serve("lstm")
    stepper = await served.step()
    neighbour = await Neighbour.move_in(served, stepper)
    opened = await served.open("lstm", count=2)
    data = [random_input(SPEC, RNG, 2) for _ in range(2)]
    for frame_id, (name, bad) in enumerate(BAD_FRAMES.items(), 100):
        frame = make_frame(frame_id, opened.handles, data)
        bad.change(frame)
        ask = await stepper.ask_raw(frame)
        assert ask.refusal, name
        assert (ask.refusal.code, ask.refusal.reason) == (bad.code, bad.reason), name
        assert all(text in ask.refusal.message for text in bad.says), (name, ask.refusal.message)
        assert ask.refusal.retry_seconds is None
        await neighbour.assert_unharmed()
    after = await stepper.ask(opened.handles, data, positions=[0, 0])
    for row, part in zip(after.rows, data, strict=True):
        assert_near(row.output, toy("lstm").run(part)[0])
    assert (await stepper.end()).name == "OK"


async def test_a_frame_with_handles_of_two_models_is_refused_by_their_names(serve: Serve) -> None:
    served = await serve("lstm", "gru")
    stepper = await served.step()
    neighbour = await Neighbour.move_in(served, stepper)
    handles = [(await served.open(name, count=1)).handles[0] for name in ("lstm", "gru")]
    ask = await stepper.ask(handles, [random_input(SPEC, RNG, 1)] * 2)
    assert ask.refusal
    assert (ask.refusal.code, ask.refusal.reason) == ("INVALID_ARGUMENT", "INVALID_INPUT")
    assert "gru 1" in ask.refusal.message
    assert "lstm 1" in ask.refusal.message
    await neighbour.assert_unharmed()


async def test_a_frame_over_max_frame_bytes_is_refused_and_the_stream_lives(serve: Serve) -> None:
    served = await serve("lstm", max_frame_bytes=4096)
    stepper = await served.step()
    neighbour = await Neighbour.move_in(served, stepper)
    opened = await served.open("lstm", count=1)
    ask = await stepper.ask(opened.handles, [random_input(SPEC, RNG, 400)])
    assert ask.refusal
    assert "max_frame_bytes is 4096" in ask.refusal.message
    assert ask.refusal.code == "RESOURCE_EXHAUSTED"
    assert ask.refusal.retry_seconds is None
    await neighbour.assert_unharmed()


async def test_a_message_over_what_grpc_takes_ends_its_stream_alone_with_a_bare_status(serve: Serve) -> None:
    served = await serve("lstm")
    neighbour = await Neighbour.move_in(served, await served.step())
    stepper = await served.step()
    huge = tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_F32, data=bytes(65 << 20))
    await stepper.call.write(inference_pb2.StepRequest(frame_id=1, handles=[1], lengths=[1], input=huge))
    with pytest.raises(grpc.aio.AioRpcError):
        await stepper.read()
    assert await stepper.call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "grpc-status-details-bin" not in dict(await stepper.call.trailing_metadata())
    await neighbour.assert_unharmed()


async def test_bytes_that_do_not_parse_end_their_stream_alone(serve: Serve) -> None:
    served = await serve("lstm")
    neighbour = await Neighbour.move_in(served, await served.step())
    raw = served.channel.stream_stream("/elman.v1.Inference/Step")()
    await raw.read()
    await raw.write(b"\xff\xff\xff not a message")
    with pytest.raises(grpc.aio.AioRpcError):
        await raw.read()
    assert await raw.code() is grpc.StatusCode.INTERNAL
    await neighbour.assert_unharmed()


async def assert_row_fails_beside_neighbour(
    neighbour: Neighbour, handle: int, data: Any, code: str, reason: str, *says: str, position: int | None = None
) -> Any:
    """One bad row in a frame with the neighbour's good one: the bad one fails alone."""
    both = [neighbour.handle, handle] if len(data) <= 2 else [handle, neighbour.handle]
    rows = [neighbour.next(), data] if len(data) <= 2 else [data, neighbour.next()]
    fields = {}
    if position is not None:
        begins = [sum(map(len, neighbour._inputs)) - 2, position]
        fields["positions"] = begins if len(data) <= 2 else begins[::-1]
    ask = await neighbour.stepper.ask(both, rows, **fields)
    bad = both.index(handle)
    neighbour.take(ask.rows[1 - bad])
    error = ask.rows[bad].error
    assert error
    assert (error.code, error.reason) == (code, reason)
    assert all(text in error.message for text in says), error.message
    await neighbour.assert_unharmed()
    return error


async def test_a_bad_row_fails_alone(serve: Serve) -> None:
    served = await serve("lstm")
    stepper = await served.step()
    neighbour = await Neighbour.move_in(served, stepper)
    opened = await served.open("lstm", "s")
    (handle,) = opened.handles
    data = random_input(SPEC, RNG, 2)
    for value in (np.nan, np.inf):
        wrong = data.copy()
        wrong[1, 2] = value
        await assert_row_fails_beside_neighbour(
            neighbour, handle, wrong, "INVALID_ARGUMENT", "INVALID_INPUT", "NaN", "row 1"
        )
    ahead = await assert_row_fails_beside_neighbour(
        neighbour, handle, data, "OUT_OF_RANGE", "POSITION_AHEAD", "position 5", "0", position=5
    )
    assert ahead.says == {"position": "0", "given": "5"}
    first = await stepper.ask([handle], [data])
    assert_near(first.rows[0].output, toy("lstm").run(data)[0])
    await assert_row_fails_beside_neighbour(
        neighbour, handle, data[:1], "ABORTED", "ANSWER_GONE", "position 1", "2", position=1
    )
    (again,) = (await served.open("lstm", "s", mode=2)).handles
    await assert_row_fails_beside_neighbour(neighbour, handle, data, "ABORTED", "STALE_HANDLE", "attach again")
    await assert_row_fails_beside_neighbour(neighbour, 12345, data, "ABORTED", "STALE_HANDLE", "attach again")
    second = await stepper.ask([again], [data], positions=[2])
    assert_near(second.rows[0].output, toy("lstm").run(np.concatenate([data, data]))[0][2:])


async def test_values_that_are_not_finite_run_where_they_are_allowed(serve: Serve) -> None:
    served = await serve("lstm", refuse_non_finite=False)
    opened, stepper = await served.open("lstm", count=2), await served.step()
    good = random_input(SPEC, RNG, 3)
    ask = await stepper.ask(opened.handles, [good, np.full_like(good, np.nan)])
    assert [row.position for row in ask.rows] == [3, 3]
    assert_near(ask.rows[0].output, toy("lstm").run(good)[0])
    assert np.isnan(ask.rows[1].output).all()


async def test_a_token_out_of_range_fails_its_row_alone(serve: Serve) -> None:
    served = await serve("tokens")
    stepper = await served.step()
    opened = await served.open("tokens", count=3)
    for wrong in (11, -1, 2**40):
        good = np.array([3])
        ask = await stepper.ask(opened.handles, [good, np.array([wrong]), good])
        assert ask.rows[1].error
        assert (ask.rows[1].error.code, ask.rows[1].error.reason) == ("INVALID_ARGUMENT", "INVALID_INPUT")
        assert "[0, 11)" in ask.rows[1].error.message
        assert ask.rows[0].error is None
        assert ask.rows[2].error is None
    output, _, _ = toy("tokens").run(np.array([3, 3, 3]))
    assert_near(ask.rows[0].output, output[2:])
    assert (await stepper.ask([opened.handles[1]], [good])).rows[0].position == 1


async def test_a_repeat_of_a_held_chunk_is_answered_again_and_not_applied_again(serve: Serve) -> None:
    served = await serve("lstm", max_slice=4, replay_chunks=2)
    first, second = await served.step(), await served.step()
    opened = await served.open("lstm", count=1)
    parts = [random_input(SPEC, RNG, length) for length in (10, 3, 1)]
    begins = [0, 10, 13]
    for part, begin in zip(parts, begins, strict=True):
        await first.ask(opened.handles, [part], positions=[begin], return_state=True)
    output, h_n, _ = toy("lstm").run(np.concatenate(parts))
    for part, begin in zip(parts[1:], begins[1:], strict=True):
        again = await second.ask(opened.handles, [part], positions=[begin], return_state=True)
        assert_near(again.rows[0].output, output[begin : begin + len(part)])
        assert again.rows[0].position == begin + len(part)
    assert_near(again.rows[0].h_n, h_n)
    for part, begin, fields in ((parts[0], 0, {"return_state": True}), (parts[2], 13, {})):
        gone = await second.ask(opened.handles, [part], positions=[begin], **fields)
        assert gone.rows[0].error
        assert gone.rows[0].error.reason == "ANSWER_GONE"
        assert "14" in gone.rows[0].error.message


async def test_a_repeat_of_a_queued_chunk_is_answered_to_the_newest_asker(serve: Serve) -> None:
    served = await serve("lstm")
    first, second = await served.step(), await served.step()
    opened = await served.open("lstm", count=1)
    data = random_input(SPEC, RNG, 3)
    async with EngineGate(served) as engine_gate:
        old = await first.send(opened.handles, [data], positions=[0])
        await engine_gate.arrived(1)
        new = await second.send(opened.handles, [data], positions=[0])
        await engine_gate.arrived(2)
    await first.finish(old)
    assert old.rows[0].error
    assert (old.rows[0].error.code, old.rows[0].error.reason) == ("ABORTED", "SUPERSEDED")
    await second.finish(new)
    assert_near(new.rows[0].output, toy("lstm").run(data)[0])
    assert new.rows[0].position == 3


async def test_no_number_near_a_caller_s_own_handle_steps_a_neighbour_s_session(serve: Serve) -> None:
    served = await serve("lstm")
    neighbours, own = await served.open("lstm", count=100), await served.open("lstm", "mallory")
    stepper = await served.step()
    forged = np.concatenate([flipped(own.handles[0]), RNG.integers(0, 2**64, size=1000, dtype=np.uint64)])
    for handles in np.array_split(forged, 4):
        ask = await stepper.ask(handles.tolist(), [random_input(SPEC, RNG, 1)] * len(handles))
        assert {row.error.reason if row.error else "" for row in ask.rows} == {"STALE_HANDLE"}
    (row,) = (await stepper.ask(own.handles, [random_input(SPEC, RNG, 1)])).rows
    assert row.position == 1
    ask = await stepper.ask(neighbours.handles, [random_input(SPEC, RNG, 1)] * 100)
    assert {row.position for row in ask.rows} == {1}


async def test_handles_of_a_server_since_restarted_are_stale(serve: Serve) -> None:
    before = await serve("lstm")
    old = await before.open("lstm", count=2)
    after = await serve("lstm")
    stepper = await after.step()
    neighbour = await Neighbour.move_in(after, stepper)
    assert before.instance != after.instance
    data = [random_input(SPEC, RNG, 1)] * 2
    ask = await stepper.ask(old.handles, data)
    for row in ask.rows:
        assert row.error
        assert (row.error.code, row.error.reason) == ("ABORTED", "STALE_HANDLE")
        assert "attach again" in row.error.message
    named = await stepper.ask(old.handles, data, server_instance=before.instance)
    assert named.refusal
    assert named.refusal.reason == "RE_ATTACH"
    assert named.refusal.says == {"server_instance": after.instance}
    await neighbour.assert_unharmed()


async def test_a_row_past_its_deadline_is_not_applied_and_its_followers_fail_with_it(serve: Serve) -> None:
    served = await serve("lstm", clock=FakeClock())
    stepper = await served.step()
    neighbour = await Neighbour.move_in(served, stepper)
    opened = await served.open("lstm", count=1)
    data = random_input(SPEC, RNG, 2)
    late = make_frame(900, opened.handles, [data])
    late.timeout.SetInParent()
    async with EngineGate(served) as engine_gate:
        first = await stepper.send_raw(late)
        follower = await stepper.send(opened.handles, [data])
        await engine_gate.arrived(2)
    await stepper.finish(first)
    await stepper.finish(follower)
    assert first.rows[0].error
    assert (first.rows[0].error.code, first.rows[0].error.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_PASSED")
    assert "not applied" in first.rows[0].error.message
    assert follower.rows[0].error
    assert (follower.rows[0].error.code, follower.rows[0].error.reason) == ("ABORTED", "PREDECESSOR_FAILED")
    assert "position 0" in follower.rows[0].error.message
    unnamed = await stepper.ask(opened.handles, [data])
    assert unnamed.rows[0].error
    assert unnamed.rows[0].error.reason == "PREDECESSOR_FAILED"
    named = await stepper.ask(opened.handles, [data], positions=[0])
    assert_near(named.rows[0].output, toy("lstm").run(data)[0])
    await neighbour.assert_unharmed()


@pytest.mark.parametrize(("limit", "value"), [("max_queue_rows", 4), ("max_queue_bytes", 4 * SPEC.input_size * 4)])
async def test_a_full_queue_refuses_a_frame_and_says_when_to_send_it_again(
    serve: Serve, limit: str, value: int
) -> None:
    served = await serve("lstm", **{limit: value})
    stepper = await served.step()
    neighbour = await Neighbour.move_in(served, stepper)
    opened = await served.open("lstm", count=6)
    data = [random_input(SPEC, RNG, 1)] * 3
    async with EngineGate(served) as engine_gate:
        first = await stepper.send(opened.handles[:3], data)
        await engine_gate.arrived(1)
        second = await stepper.send(opened.handles[3:], data)
        await engine_gate.arrived(2)
    await stepper.finish(first)
    await stepper.finish(second)
    assert all(row.error is None for row in first.rows)
    assert second.refusal
    assert (second.refusal.code, second.refusal.reason) == ("RESOURCE_EXHAUSTED", "LIMIT_REACHED")
    assert f"{limit} is {value}" in second.refusal.message
    assert second.refusal.says["limit"] == limit
    assert second.refusal.retry_seconds
    large = await stepper.ask(opened.handles, data * 2)
    assert large.refusal
    assert large.refusal.retry_seconds is None, "it never fits"
    await neighbour.assert_unharmed()
