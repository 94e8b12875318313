"""Inputs gathered and results cut, against what anyone would write with loops."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from frame_maker import FrameMaker
from hypothesis import given
from hypothesis import strategies as st
from stepped_engine import Asked, FakeClock, SteppedEngine
from toys import pack_rows, random_input, toy

from elman_models.layout import batch_sizes, step_offsets
from elman_server.exchange.batch_result import BatchResult
from elman_server.exchange.frames import Frame, Want
from elman_server.exchange.want import asked_back, pack_kind, unpack_kind
from elman_server.models.view import view_of
from elman_server.scheduling.scheduler import Scheduler
from elman_server.sessions.replay_buffer import ReplayBuffer, ReplayRing, hold

Lengths = st.lists(st.integers(1, 9), min_size=1, max_size=5).map(lambda x: sorted(x, reverse=True))


@given(st.lists(Lengths, min_size=1, max_size=4), st.integers(0, 99))
def test_a_batch_is_gathered_as_a_loop_would(frames: list[list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    stepped = engine_of_20()
    rows = [[random_input(stepped.toy.spec, rng, n) for n in lengths] for lengths in frames]
    opened = stepped.do(lambda: stepped.directory.open("me", [f"s{seed}.{i}" for i in range(20)], 1, "", 0.0))  # type: ignore[arg-type]
    handles, sink = list(opened.handles), Asked()
    for lengths, parts in zip(frames, rows, strict=True):
        mine = [handles.pop() for _ in lengths]
        stepped.submit(stepped.frame(mine, pack_rows(parts), lengths, sink))
    stepped.do(lambda: None)
    scheduler: Scheduler = stepped.runtime.scheduler
    chunks = scheduler.chunks
    by_chunk = {
        (stepped.runtime.frames[int(chunks["frame"][n])].frame_id, int(chunks["row"][n])): int(n)
        for n in np.flatnonzero(chunks["live"])
    }
    frame_ids = sorted({frame_id for frame_id, _ in by_chunk})
    data = {by_chunk[f, r]: rows[k][r] for k, f in enumerate(frame_ids) for r in range(len(rows[k]))}
    while scheduler.has_work:
        batch, _ = scheduler.form(0.0)
        assert batch
        expected = [
            data[int(n)][start + t]
            for t in range(int(batch.takes[0]))
            for n, start, take in zip(batch.numbers, batch.starts, batch.takes, strict=True)
            if t < take
        ]
        assert (stepped.runtime.inputs.gather(chunks, batch) == np.stack(expected)).all()
        scheduler.complete(batch)


def engine_of_20() -> SteppedEngine:
    return SteppedEngine(toy("gru"), max_sessions=20, max_slice=4, max_rows=6)


@st.composite
def cuts(draw: Any) -> tuple[BatchResult, np.ndarray, Want]:
    takes = np.array(draw(Lengths))
    count = len(takes)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    sizes = batch_sizes(takes)
    result = BatchResult(
        starts=rng.integers(0, 3, count),
        takes=takes,
        offsets=step_offsets(sizes),
        finished=rng.integers(0, 2, count).astype(bool),
        positions=rng.integers(0, 99, count),
        output=rng.standard_normal((int(sizes.sum()), 2)),
        states=(rng.standard_normal((3, count, 2)),),
        previous_result=np.full(count, -1),
        previous_row=np.zeros(count, np.int64),
    )
    mine = draw(st.lists(st.integers(0, count - 1), min_size=1, unique=True).map(sorted))
    return result, np.array(mine), draw(st.sampled_from(list(Want)))


@given(cuts(), st.integers(0, 2))
def test_a_result_is_cut_as_a_loop_would(cut: tuple[BatchResult, np.ndarray, Want], more_rows: int) -> None:
    result, mine, want = cut
    rows = np.random.default_rng(len(mine)).permutation(len(mine) + more_rows)[: len(mine)]
    answer = result.cut(mine, rows, frame_of(NOBODY, len(mine) + more_rows, want, want_state=True))
    assert result.output is not None
    every = [
        result.output[result.offsets[t] + i] for t in range(result.takes[mine[0]]) for i in mine if t < result.takes[i]
    ]
    last = [result.output[result.offsets[result.takes[i] - 1] + i] for i in mine if result.finished[i]]
    expected = {Want.ALL: every, Want.LAST: last, Want.NONE: None}[want]
    if expected is None:
        assert answer.output is None
    else:
        assert answer.output is not None
        assert answer.output.tolist() == [row.tolist() for row in expected]
    assert answer.lengths.tolist() == result.takes[mine].tolist()
    given_rows = list(range(len(mine) + more_rows)) if answer.rows is None else answer.rows.tolist()
    assert given_rows == rows.tolist()
    starts = [0] * len(mine) if answer.starts is None else answer.starts.tolist()
    assert starts == result.starts[mine].tolist()
    assert answer.finished.tolist() == [int(r) for r, i in zip(rows, mine, strict=True) if result.finished[i]]
    assert answer.positions.tolist() == [int(result.positions[i]) for i in mine if result.finished[i]]
    assert (answer.states[0] == result.states[0][:, [i for i in mine if result.finished[i]]]).all()


def make_result(previous: tuple[int, int] = (-1, 0), size: int = 1) -> BatchResult:
    one = np.ones(1, np.int64)
    return BatchResult(
        starts=one * 0,
        takes=one,
        offsets=one * 0,
        finished=one.astype(bool),
        positions=one,
        output=np.zeros((size, 1), np.float32),
        states=(),
        previous_result=one * previous[0],
        previous_row=one * previous[1],
    )


def note(held: ReplayBuffer, slot: int, begin: int, length: int, result: int) -> None:
    hold(slot, begin, length, 2, result, 0, held.table, held.count)


def test_a_small_part_of_a_result_keeps_none_of_it() -> None:
    output = np.random.default_rng(0).random((8, 4), np.float32)
    rows, zeros = np.arange(8), np.zeros(8, np.int64)
    result = BatchResult(zeros, zeros + 1, zeros[:1], zeros == 0, zeros + 1, output, (output[None],), zeros - 1, zeros)
    for row in rows:
        answer = result.cut(rows[row : row + 1], zeros[:1], frame_of(NOBODY, want_state=True))
        for part in (answer.output, *answer.states):
            assert part is not None
            assert (part.reshape(-1) == output[row]).all()
            assert not np.shares_memory(part, output)
    whole = result.cut(rows, rows, frame_of(NOBODY, 8))
    assert whole.output is output


def keep(held: ReplayBuffer, result: BatchResult, *frames: Frame) -> int:
    """The number that the result gets; of one frame if none are given."""
    number = held.next_number
    one_row_each = np.zeros(len(result.takes), np.int64)
    rows = one_row_each if len(frames) > 1 else np.arange(len(result.takes))
    held.keep(result, frames or [frame_of(NOBODY, len(result.takes))], rows)
    return number


def frame_of(sink: Any, rows: int = 1, want: Want = Want.ALL, want_state: bool = False) -> Frame:
    return FRAMES.frame(range(1, rows + 1), np.zeros((rows, 1)), [1] * rows, sink, want=want, want_state=want_state)


def test_a_held_chunk_comes_back_slice_by_slice_in_order() -> None:
    held = ReplayBuffer(2, 3, 1 << 20)
    results = [make_result()]
    first = keep(held, results[0])
    keep(held, make_result())
    results.append(make_result((first, 0)))
    last = keep(held, results[1])
    note(held, 1, 0, 20, last)
    found = held.find(1, 0, 20, 2)
    assert found
    for held_slice, result in zip(found, results, strict=True):
        assert_same_tensors(held_slice.result, result)
        assert held_slice.result.previous_result == result.previous_result
    assert held.find(1, 0, 19, 2) is None
    assert held.find(1, 0, 20, 3) is None
    assert held.find(0, 0, 20, 2) is None
    held.forget(np.array([1]))
    assert held.find(1, 0, 20, 2) is None


def test_only_the_last_chunks_of_a_session_are_held() -> None:
    held = ReplayBuffer(1, 3, 1 << 20)
    for k in range(5):
        note(held, 0, k, 1, keep(held, make_result()))
    assert [bool(held.find(0, k, 1, 2)) for k in range(5)] == [False, False, True, True, True]


@pytest.mark.parametrize("depth", [0, 3])
def test_held_answers_stay_within_their_bytes(depth: int) -> None:
    limit = 8 * make_result().num_bytes
    held = ReplayBuffer(1, depth, limit)
    for k in range(10):
        note(held, 0, k, 1, keep(held, make_result()))
        assert held.num_bytes <= limit
    before = held.num_bytes
    note(held, 0, 10, 1, keep(held, make_result(size=1 << 20)))
    assert held.num_bytes == before
    assert held.find(0, 10, 1, 2) is None


@given(st.integers(0, 2**40), st.sampled_from(list(Want)), st.booleans())
def test_what_is_asked_back_is_read_as_it_was_packed(outputs: int, want: Want, want_state: bool) -> None:
    kind = pack_kind(outputs, int(want), want_state)
    assert unpack_kind(kind) == (outputs, want, want_state)
    assert asked_back(kind) == (want, want_state)


@given(st.integers(0, 20_000), st.lists(st.integers(0, 600), max_size=60))
def test_a_result_is_held_unchanged_until_it_is_gone_the_oldest_first(limit: int, sizes: list[int]) -> None:
    ring = ReplayRing(limit)
    known: dict[int, BatchResult] = {}
    for k, size in enumerate(sizes):
        result = replace(
            make_result(size=size), states=(np.full((2, 1, size % 7), -k),), output=np.full((size, 1), k, np.float32)
        )
        before = [number for number in known if ring.get(number)]
        if ring.put(k, result, result.num_bytes):
            known[k] = result
        else:  # and costs no other its place
            assert result.num_bytes > limit - 64
            assert [number for number in known if ring.get(number)] == before
        assert ring.num_bytes <= limit
        held = [number for number in known if ring.get(number)]
        assert held == list(known)[len(known) - len(held) :]
        for number in held:
            assert_same_tensors(ring.get(number)[0], known[number])


def assert_same_tensors(held: BatchResult | None, result: BatchResult) -> None:
    assert held
    for ours, theirs in zip(held.tensors, result.tensors, strict=True):
        assert (ours == theirs).all()


VIEW = view_of(toy("gru").spec)
FRAMES = FrameMaker(FakeClock(), VIEW)
NOBODY = object()
REPLAY_BYTES = 1 << 17
BATCHES = st.lists(
    st.lists(  # a batch: its rows' steps, streams, and what they want
        st.tuples(
            st.sampled_from([1, 1, 2, 16]), st.integers(0, 3), st.sampled_from(list(Want)), st.booleans(), st.booleans()
        ),
        min_size=1,
        max_size=12,
    ),
    max_size=12,
)


@given(BATCHES, st.sampled_from([8, 64, 1024]), st.integers(0, 99))
def test_each_row_gets_back_what_it_asked_for_and_no_stream_pushes_out_more_than_its_share(
    batches: list[list[Any]], size: int, seed: int
) -> None:
    held, rng = ReplayBuffer(1, 8, REPLAY_BYTES), np.random.default_rng(seed)
    sinks, told = [object() for _ in range(4)], []
    for batch in batches:
        batch.sort(key=lambda row: -row[0])
        result = any_result(rng, np.array([row[0] for row in batch]), size)
        frames = [frame_of(sinks[stream], 1, want, state) for _, stream, want, state, _ in batch]
        for frame, (*_, is_infer) in zip(frames, batch, strict=True):
            if is_infer:
                cast(Frame, frame).handles = np.empty(0, np.uint64)
        told.append((keep(held, result, *frames), result, frames))
        assert held.num_bytes <= REPLAY_BYTES
    for number, result, frames in told:
        for row, frame in enumerate(frames):
            found = held.slices(number, row)
            mine, whole = np.array([row]), np.zeros(1, np.int64)
            if found:
                (held_slice,) = found
                again = held_slice.result.cut(np.array([held_slice.row]), whole, cast(Frame, frame))
                first = result.cut(mine, whole, cast(Frame, frame))
                for name in ("lengths", "starts", "finished", "positions", "output"):
                    assert np.array_equal(getattr(again, name), getattr(first, name)), name
                assert len(again.states) == len(first.states)
                assert all(map(np.array_equal, again.states, first.states))
            else:
                assert len(told) > 1 or result.num_bytes > REPLAY_BYTES // 4 or not len(frame.handles)


def any_result(rng: np.random.Generator, takes: np.ndarray, size: int) -> BatchResult:
    count, sizes = len(takes), batch_sizes(takes)
    return BatchResult(
        starts=rng.integers(0, 3, count),
        takes=takes,
        offsets=step_offsets(sizes),
        finished=rng.integers(0, 2, count).astype(bool),
        positions=rng.integers(0, 99, count),
        output=rng.standard_normal((int(sizes.sum()), size)).astype(np.float32),
        states=(rng.standard_normal((3, count, 2)).astype(np.float32),),
        previous_result=np.full(count, -1),
        previous_row=np.zeros(count, np.int64),
    )


@given(st.lists(st.sampled_from(["large", "too large", "with small"]), min_size=1, max_size=40))
def test_large_answers_cost_no_small_one_its_place(others: list[str]) -> None:
    held, rng = ReplayBuffer(1, 8, 1 << 20), np.random.default_rng(0)
    small, large = object(), object()
    mine = [(keep(held, any_result(rng, np.ones(1, np.int64), 64), frame_of(small)), 0) for _ in range(8)]
    for other in others:
        rows = 64 if other == "too large" else 8
        takes = np.full(rows, 16)
        if other == "with small":
            takes[-1] = 1
        frames = [frame_of(large) for _ in takes]
        frames[-1] = frame_of(small if other == "with small" else large)
        number = keep(held, any_result(rng, takes, 256), *frames)
        if other == "with small":
            mine.append((number, rows - 1))
        assert bool(held.slices(number, 0)) is (other != "too large")
    assert all(held.slices(number, row) for number, row in mine)
