"""The engine on a clock that stands still, one turn at a time."""

import gc
import itertools
import logging
from functools import partial

import numpy as np
import pytest
from stepped_engine import Asked, SteppedEngine
from toys import assert_near, random_input, toy

from elman_server.errors import DeadlinePassed, EngineFailed, InvalidInput, LimitReached, PredecessorFailed
from elman_server.exchange.frames import Want
from elman_server.exchange.initial import NOTHING_GIVEN
from elman_server.exchange.session_calls.calls import Closed, OpenMode, OpenResult, Owner
from elman_server.exchange.session_calls.hand_off import HandOff, HandOffRequest

RNG = np.random.default_rng(3)


def make_engine(**limits: object) -> SteppedEngine:
    return SteppedEngine(toy("lstm"), **limits)


def test_a_close_waiting_for_a_chunk_that_is_dropped_frees_the_slot_once() -> None:
    stepped, sink = make_engine(), Asked()
    opened = stepped.open("a")
    frame = stepped.frame(opened.handles, random_input(stepped.toy.spec, RNG, 1), [1], sink, timeout=0)
    stepped.submit(frame)
    closed: list[Closed] = []
    stepped.do(lambda: stepped.session_calls.close("me", ["a"], closed.append))
    stepped.drain()
    assert isinstance(sink.ended[frame.frame_id, 0], DeadlinePassed)
    assert [c.positions for c in closed] == [[0]]
    stepped.assert_nothing_left()


def test_a_frame_refused_beside_others_is_told_to_retry_if_alone_it_would_fit() -> None:
    stepped, sink = make_engine(max_queue_rows=4), Asked()
    opened = stepped.open(*"abcdef")
    for k in range(3):
        data = random_input(stepped.toy.spec, RNG, 2)
        stepped.submit(stepped.frame(opened.handles[2 * k : 2 * k + 2], data, [1, 1], sink))
    stepped.drain()
    (error,) = sink.refused.values()
    assert isinstance(error, LimitReached)
    assert error.retry_seconds is not None
    assert "4 wait and 2 came" in error.message
    assert len(sink.ended) == 4
    stepped.assert_nothing_left()


def test_a_close_waits_for_the_chunks_before_one_that_its_asker_took_back() -> None:
    stepped, staying, leaving = make_engine(), Asked(), Asked()
    opened = stepped.open("a")
    data = random_input(stepped.toy.spec, RNG, 2)
    first = stepped.submit(stepped.frame(opened.handles, data, [2], staying))
    stepped.submit(stepped.frame(opened.handles, data, [2], leaving))
    closed: list[Closed] = []
    stepped.do(lambda: stepped.session_calls.close("me", ["a"], closed.append))
    stepped.go_away(leaving)
    stepped.do(lambda: None)
    assert not closed, "a chunk still waits"
    stepped.drain()
    assert staying.ended[first.frame_id, 0] == 2
    assert [c.positions for c in closed] == [[2]]
    stepped.assert_nothing_left()


def test_a_sliced_chunk_that_fails_is_put_back_and_its_followers_fail_with_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    stepped, sink = make_engine(max_slice=4), Asked()
    opened = stepped.open("a")
    before, data = random_input(stepped.toy.spec, RNG, 3), random_input(stepped.toy.spec, RNG, 10)
    stepped.submit(stepped.frame(opened.handles, before, [3], sink))
    stepped.drain()
    sliced = stepped.submit(stepped.frame(opened.handles, data, [10], sink))
    follower = stepped.submit(stepped.frame(opened.handles, data, [10], sink))
    stepped.pump()
    model = stepped.runtime.model
    stepped.runtime.model = None  # type: ignore[assignment]
    stepped.pump()
    stepped.runtime.model = model
    stepped.drain()
    assert isinstance(sink.ended[sliced.frame_id, 0], EngineFailed)
    assert isinstance(sink.ended[follower.frame_id, 0], PredecessorFailed)
    unnamed = stepped.submit(stepped.frame(opened.handles, data, [10], sink))
    stepped.drain()
    assert isinstance(sink.ended[unnamed.frame_id, 0], PredecessorFailed)
    again = stepped.submit(stepped.frame(opened.handles, data, [10], sink, positions=[3], want=Want.LAST))
    stepped.drain()
    assert sink.ended[again.frame_id, 0] == 13
    assert_near(sink.answers[-1].output, toy("lstm").run(np.concatenate([before, data]))[0][-1:])
    stepped.assert_nothing_left()


def test_each_chunk_of_a_caller_that_went_away_counts_as_cancelled() -> None:
    stepped, sink = make_engine(), Asked()
    opened = stepped.open("a", "b")
    for _ in range(3):
        stepped.submit(stepped.frame(opened.handles, random_input(stepped.toy.spec, RNG, 2), [1, 1], sink))
    stepped.go_away(sink)
    stepped.drain()
    (sample,) = [s for s in stepped.runtime.metrics.cancelled_rows.collect()[0].samples if s.name.endswith("_total")]
    assert sample.value == 6
    stepped.assert_nothing_left()


def test_chunks_that_came_too_late_count_as_expired_and_not_those_that_fail_with_them() -> None:
    stepped, sink = make_engine(), Asked()
    opened = stepped.open("a", "b")
    data = random_input(stepped.toy.spec, RNG, 2)
    late = stepped.submit(stepped.frame(opened.handles, data, [1, 1], sink, timeout=0))
    follower = stepped.submit(stepped.frame(opened.handles, data, [1, 1], sink))
    stepped.drain()
    assert all(isinstance(sink.ended[late.frame_id, row], DeadlinePassed) for row in range(2))
    assert all(isinstance(sink.ended[follower.frame_id, row], PredecessorFailed) for row in range(2))
    (sample,) = [s for s in stepped.runtime.metrics.expired_rows.collect()[0].samples if s.name.endswith("_total")]
    assert sample.value == 2
    stepped.assert_nothing_left()


def test_a_repeat_of_a_queued_chunk_brings_its_own_deadline() -> None:
    stepped, old, new = make_engine(), Asked(), Asked()
    opened = stepped.open("a")
    data = random_input(stepped.toy.spec, RNG, 1)
    stepped.submit(stepped.frame(opened.handles, data, [1], old, positions=[0], timeout=1))
    repeat = stepped.submit(stepped.frame(opened.handles, data, [1], new, positions=[0], timeout=9))
    stepped.do(lambda: None)
    stepped.clock.time += 2
    stepped.drain()
    assert new.ended[repeat.frame_id, 0] == 1


def test_rows_of_a_frame_that_fail_together_are_told_together() -> None:
    stepped, sink = make_engine(), Asked()
    opened = stepped.open(*"abcd")
    data = random_input(stepped.toy.spec, RNG, 4)
    stepped.submit(stepped.frame([*opened.handles[:2], 666, 667], data, [1] * 4, sink))
    stepped.drain()
    assert [[row for row, _ in answer.errors] for answer in sink.answers] == [[2, 3]]
    stepped.submit(stepped.frame(opened.handles, data, [1] * 4, sink, timeout=0))
    stepped.drain()
    assert [len(answer.errors) for answer in sink.answers[1:]] == [4]
    stepped.assert_nothing_left()


def test_rows_that_failed_are_told_with_what_others_of_their_frame_gave() -> None:
    stepped, sink = make_engine(), Asked()
    opened = stepped.open(*"ab")
    data = random_input(stepped.toy.spec, RNG, 3)
    stepped.submit(stepped.frame([*opened.handles, 666], data, [1] * 3, sink))
    stepped.pump()
    (answer,) = sink.answers
    assert ([row for row, _ in answer.errors], answer.finished.tolist()) == ([2], [0, 1])
    stepped.assert_nothing_left()


def test_a_bug_in_what_waits_for_a_chunk_leaves_its_batch_whole(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    stepped, sink = make_engine(), Asked()
    opened, data = stepped.open("a"), random_input(stepped.toy.spec, RNG, 1)
    stepped.submit(stepped.frame(opened.handles, data, [1], sink, positions=[0]))
    stepped.engine._take_in()
    stepped.runtime.after[next(iter(stepped.runtime.scheduler.queues.of(0)))] = [lambda: 1 / 0]  # type: ignore[list-item, return-value]
    stepped.drain()
    stepped.submit(stepped.frame(opened.handles, data, [1], sink, positions=[0]))
    stepped.drain()
    first, again = sink.answers
    assert (again.output == first.output).all()
    stepped.assert_nothing_left()


def test_more_rows_that_came_too_late_than_a_batch_takes_are_dropped_one_turn_after_the_other() -> None:
    stepped, sink = make_engine(max_rows=2), Asked()
    opened = stepped.open(*"abcdef")
    data = random_input(stepped.toy.spec, RNG, 6)
    frame = stepped.submit(stepped.frame(opened.handles, data, [1] * 6, sink, timeout=0))
    for ended in (2, 4, 6):
        assert stepped.engine.turn() is (ended < 6)
        assert len(sink.ended) == ended
    assert {frame_id for frame_id, _ in sink.ended} == {frame.frame_id}
    stepped.assert_nothing_left()


def test_what_infer_gave_lets_no_held_answer_go() -> None:
    stepped, sink = make_engine(replay_bytes=20_000), Asked()
    opened, data = stepped.open("a"), random_input(stepped.toy.spec, RNG, 2)
    stepped.submit(stepped.frame(opened.handles, data, [2], sink, positions=[0]))
    stepped.drain()
    for _ in range(20):
        stepped.infer([random_input(stepped.toy.spec, RNG, 40)], None, 1.0)
        stepped.drain()
    stepped.submit(stepped.frame(opened.handles, data, [2], sink, positions=[0]))
    stepped.drain()
    first, again = sink.answers
    assert (again.output == first.output).all()
    stepped.assert_nothing_left()


def test_a_chunk_that_came_while_its_session_ran_has_waited_for_nobody() -> None:
    stepped, sink = make_engine(), Asked()
    opened, data = stepped.open("a"), random_input(stepped.toy.spec, RNG, 1)
    second = stepped.frame(opened.handles, data, [1], sink)
    stepped.clock.time += 5
    stepped.submit(stepped.frame(opened.handles, data, [1], sink))
    stepped.drain()
    stepped.submit(second)
    stepped.drain()
    gaps = stepped.runtime.metrics.reuse_gap
    assert (int(gaps.counts.sum()), float(gaps.total[0])) == (1, 0.0)
    assert stepped.runtime.sessions.used.max() == stepped.clock.time


def test_sessions_that_a_call_resumes_are_not_evicted_by_it() -> None:
    stepped, sink = make_engine(max_sessions=2, when_full="evict"), Asked()
    opened = stepped.open("a", "busy")
    stepped.submit(stepped.frame(opened.handles[1:], random_input(stepped.toy.spec, RNG, 1), [1], sink))
    stepped.clock.time += 1
    again = stepped.open("a", "b", mode=OpenMode.RESUME_OR_NEW)
    assert isinstance(again.errors[1], LimitReached)
    frame = stepped.submit(stepped.frame(again.handles[:1], random_input(stepped.toy.spec, RNG, 1), [1], sink))
    stepped.drain()
    assert sink.ended[frame.frame_id, 0] == 1


def test_a_value_that_is_not_finite_fails_its_row_and_moves_nothing() -> None:
    stepped, sink = make_engine(), Asked()
    opened = stepped.open("a", "b")
    data = random_input(stepped.toy.spec, RNG, 2)
    data[1, 0] = np.nan
    frame = stepped.submit(stepped.frame(opened.handles, data, [1, 1], sink))
    stepped.drain()
    assert sink.ended[frame.frame_id, 0] == 1
    assert isinstance(sink.ended[frame.frame_id, 1], InvalidInput)
    assert stepped.open("a", "b", mode=OpenMode.RESUME).positions == [1, 0]


def test_answers_are_told_before_the_next_batch_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    stepped, sink = make_engine(max_rows=1), Asked()
    pool, model, told = stepped.runtime.pool, stepped.runtime.model, []

    def read(slots, original=pool.read):  # type: ignore[no-untyped-def]
        told.append(("read", len(sink.answers)))
        return original(slots)

    def step(inputs, sizes, state, original=model.step, **options):  # type: ignore[no-untyped-def]
        told.append(("step", len(sink.answers)))
        return original(inputs, sizes, state, **options)

    opened = stepped.open("a", "b")
    monkeypatch.setattr(pool, "read", read)
    monkeypatch.setattr(model, "step", step)
    for row in range(2):
        data = random_input(stepped.toy.spec, RNG, 1)
        stepped.submit(stepped.frame(opened.handles[row : row + 1], data, [1], sink))
    stepped.drain()
    assert told == [("read", 0), ("step", 0), ("read", 1), ("step", 1)]
    stepped.assert_nothing_left()


def test_a_batch_leaves_nothing_to_the_garbage_collector() -> None:
    stepped, sink = make_engine(), Asked()
    opened = stepped.open("a", "b")
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            stepped.submit(stepped.frame(opened.handles, random_input(stepped.toy.spec, RNG, 2), [1, 1], sink))
            stepped.drain()
        assert gc.collect() == 0
    finally:
        gc.enable()
    stepped.assert_nothing_left()


def test_a_session_is_not_evicted_for_those_that_begin_from_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    stepped = make_engine(max_sessions=2, when_full="evict")
    stepped.open("a")
    ticks = itertools.count(1)
    monkeypatch.setattr(stepped.clock, "now", lambda: 1000.0 + next(ticks))  # as a clock does
    wanted, told = HandOffRequest("me", ["b", "c"], "", NOTHING_GIVEN, None), list[OpenResult]()
    ask = partial(stepped.session_calls.hand_off.from_sessions, wanted, stepped.directory, [Owner("me", "a")])
    stepped.do(lambda: ask(HandOff("lstm"), lambda function: told.append(function())))
    assert [type(error) for error in told[0].errors.values()] == [LimitReached]
    assert sorted(stepped.positions()) == ["a", "b"]
