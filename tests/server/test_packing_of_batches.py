"""Inputs gathered and pages cut, against what anyone would write with loops."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stepped import Asked, Bench
from toys import pack_rows, random_input, toy

from elman_models.layout import batch_sizes, step_offsets
from elman_server.frames import Want
from elman_server.held import Held, hold
from elman_server.page_ring import PageRing
from elman_server.pages import Page
from elman_server.scheduler import Scheduler

Lengths = st.lists(st.integers(1, 9), min_size=1, max_size=5).map(lambda x: sorted(x, reverse=True))


@given(st.lists(Lengths, min_size=1, max_size=4), st.integers(0, 99))
def test_a_batch_is_gathered_as_a_loop_would(frames: list[list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    bench = bench_of_20()
    rows = [[random_input(bench.toy.spec, rng, n) for n in lengths] for lengths in frames]
    opened = bench.do(lambda: bench.family.open("me", [f"s{seed}.{i}" for i in range(20)], 1, "", 0.0))  # type: ignore[arg-type]
    handles, asker = list(opened.handles), Asked()
    for lengths, parts in zip(frames, rows, strict=True):
        mine = [handles.pop() for _ in lengths]
        bench.submit(bench.frame(mine, pack_rows(parts), lengths, asker))
    bench.do(lambda: None)
    scheduler: Scheduler = bench.runtime.scheduler
    chunks = scheduler.chunks
    by_chunk = {
        (bench.runtime.frames[int(chunks["frame"][n])].frame_id, int(chunks["row"][n])): int(n)
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
        assert (bench.runtime.inputs.gather(chunks, batch) == np.stack(expected)).all()
        scheduler.complete(batch)


def bench_of_20() -> Bench:
    return Bench(toy("gru"), max_sessions=20, max_slice=4, max_rows=6)


@st.composite
def cuts(draw: Any) -> tuple[Page, np.ndarray, Want]:
    takes = np.array(draw(Lengths))
    count = len(takes)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    sizes = batch_sizes(takes)
    page = Page(
        starts=rng.integers(0, 3, count),
        takes=takes,
        offsets=step_offsets(sizes),
        finished=rng.integers(0, 2, count).astype(bool),
        positions=rng.integers(0, 99, count),
        output=rng.standard_normal((int(sizes.sum()), 2)),
        h_n=rng.standard_normal((3, count, 2)),
        c_n=None,
        previous_page=np.full(count, -1),
        previous_row=np.zeros(count, np.int64),
    )
    mine = draw(st.lists(st.integers(0, count - 1), min_size=1, unique=True).map(sorted))
    return page, np.array(mine), draw(st.sampled_from(list(Want)))


@given(cuts(), st.integers(0, 2))
def test_a_page_is_cut_as_a_loop_would(cut: tuple[Page, np.ndarray, Want], more_rows: int) -> None:
    page, mine, want = cut
    rows = np.random.default_rng(len(mine)).permutation(len(mine) + more_rows)[: len(mine)]
    answer = page.cut(mine, rows, len(mine) + more_rows, want, True)
    assert page.output is not None
    assert page.h_n is not None
    every = [page.output[page.offsets[t] + i] for t in range(page.takes[mine[0]]) for i in mine if t < page.takes[i]]
    last = [page.output[page.offsets[page.takes[i] - 1] + i] for i in mine if page.finished[i]]
    expected = {Want.ALL: every, Want.LAST: last, Want.NONE: None}[want]
    if expected is None:
        assert answer.output is None
    else:
        assert answer.output is not None
        assert answer.output.tolist() == [row.tolist() for row in expected]
    assert answer.lengths.tolist() == page.takes[mine].tolist()
    given_rows = list(range(len(mine) + more_rows)) if answer.rows is None else answer.rows.tolist()
    assert given_rows == rows.tolist()
    starts = [0] * len(mine) if answer.starts is None else answer.starts.tolist()
    assert starts == page.starts[mine].tolist()
    assert answer.finished.tolist() == [int(r) for r, i in zip(rows, mine, strict=True) if page.finished[i]]
    assert answer.positions.tolist() == [int(page.positions[i]) for i in mine if page.finished[i]]
    assert answer.h_n is not None
    assert (answer.h_n == page.h_n[:, [i for i in mine if page.finished[i]]]).all()


def make_page(previous: tuple[int, int] = (-1, 0), size: int = 1) -> Page:
    one = np.ones(1, np.int64)
    return Page(
        starts=one * 0,
        takes=one,
        offsets=one * 0,
        finished=one.astype(bool),
        positions=one,
        output=np.zeros((size, 1), np.float32),
        h_n=None,
        c_n=None,
        previous_page=one * previous[0],
        previous_row=one * previous[1],
    )


def note(held: Held, slot: int, begin: int, length: int, page: int) -> None:
    hold(slot, begin, length, 2, page, 0, held.table, held.count)


def test_a_small_part_of_a_page_keeps_none_of_it() -> None:
    output = np.random.default_rng(0).random((8, 4), np.float32)
    rows, zeros = np.arange(8), np.zeros(8, np.int64)
    page = Page(zeros, zeros + 1, zeros[:1], zeros == 0, zeros + 1, output, output[None], None, zeros - 1, zeros)
    for row in rows:
        for answer in (page.cut_row(row, Want.ALL, True), page.cut(rows[row : row + 1], zeros[:1], 1, Want.ALL, True)):
            for part in (answer.output, answer.h_n):
                assert part is not None
                assert (part.reshape(-1) == output[row]).all()
                assert not np.shares_memory(part, output)
    whole = page.cut(rows, rows, 8, Want.ALL, False)
    assert whole.output is output


def test_a_held_chunk_comes_back_slice_by_slice_in_order() -> None:
    held = Held(2, 3, 1 << 20)
    pages = [make_page()]
    first = held.pages.append(pages[0])
    held.pages.append(make_page())
    pages.append(make_page((first, 0)))
    last = held.pages.append(pages[1])
    note(held, 1, 0, 20, last)
    found = held.find(1, 0, 20, 2)
    assert found
    assert [piece.page for piece in found] == pages
    assert held.find(1, 0, 19, 2) is None
    assert held.find(1, 0, 20, 3) is None
    assert held.find(0, 0, 20, 2) is None
    held.forget(np.array([1]))
    assert held.find(1, 0, 20, 2) is None


def test_only_the_last_chunks_of_a_session_are_held() -> None:
    held = Held(1, 3, 1 << 20)
    for k in range(5):
        note(held, 0, k, 1, held.pages.append(make_page()))
    assert [bool(held.find(0, k, 1, 2)) for k in range(5)] == [False, False, True, True, True]


@pytest.mark.parametrize("depth", [0, 3])
def test_held_answers_stay_within_their_bytes(depth: int) -> None:
    limit = 3 * make_page().num_bytes
    held = Held(1, depth, limit)
    for k in range(10):
        note(held, 0, k, 1, held.pages.append(make_page()))
        assert held.pages.num_bytes <= limit
    note(held, 0, 10, 1, held.pages.append(make_page(size=1 << 20)))
    assert held.pages.num_bytes <= limit
    assert held.find(0, 10, 1, 2) is None


@given(st.integers(0, 20_000), st.lists(st.integers(0, 600), max_size=60))
def test_a_page_is_held_unchanged_until_it_is_gone_the_oldest_first(limit: int, sizes: list[int]) -> None:
    ring = PageRing(limit)
    known = {}
    for k, size in enumerate(sizes):
        page = replace(
            make_page(size=size), h_n=np.full((2, 1, size % 7), -k), output=np.full((size, 1), k, np.float32)
        )
        known[ring.append(page)] = page
        assert ring.num_bytes <= limit
        held = [number for number in known if ring.get(number)]
        assert held == list(known)[len(known) - len(held) :]
        assert held or page.num_bytes > limit - 64
        for number in held:
            assert_same_tensors(ring.get(number), known[number])


def assert_same_tensors(held: Page | None, page: Page) -> None:
    assert held
    for ours, theirs in zip(held.tensors, page.tensors, strict=True):
        assert (ours == theirs).all()
