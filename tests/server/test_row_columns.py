"""Columns of frames of one row: the compiled loops give what plain ones would."""

from collections import defaultdict
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from elman_server.door.native.row_columns import Sizes, are_alike, are_well_formed, sent_of, sums_by_caller

CALLERS = st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 9)), min_size=1, max_size=20)
GOOD = {"dtype": 1, "num_dims": 2, "dim_0": 3, "dim_1": 4, "num_bytes": 48, "message_bytes": 99}
WIDTHS = {"dtype": np.int32, "num_dims": np.int32}


@given(CALLERS)
def test_each_caller_s_rows_and_bytes_are_summed_once(entries: list[tuple[int, int]]) -> None:
    callers, num_bytes = (np.array(column) for column in zip(*entries, strict=True))
    expected: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for caller, count in entries:
        expected[caller][0] += 1
        expected[caller][1] += count
    found = {caller: [rows, total] for caller, rows, total in sums_by_caller(callers, num_bytes).tolist()}
    assert found == expected
    assert len(sums_by_caller(callers, num_bytes)) == len(expected)


def test_frames_are_alike_unless_one_differs_in_anything() -> None:
    columns: list[Any] = [np.array([7, 7, 7]), np.array([1, 1, 1]), np.zeros(3, np.int32), np.zeros(3, np.uint8)]
    assert are_alike(*columns)
    for one in range(4):
        changed = [column.copy() for column in columns]
        changed[one][2] += 1
        assert not are_alike(*changed)


def test_a_row_is_well_formed_unless_anything_of_it_is_wrong() -> None:
    names = list(GOOD)
    rows = [GOOD, *({**GOOD, name: GOOD[name] + 1} for name in names)]
    judge: Any = are_well_formed
    columns = [np.array([row[name] for row in rows], WIDTHS.get(name, np.int64)) for name in names]
    good = judge(np.arange(len(rows)), *columns, 1, 3, 4, 48, 99)
    assert good.tolist() == [True] + [False] * len(names)
    assert judge(np.array([2, 0]), *columns, 1, 3, 4, 48, 99).tolist() == [False, True]


@given(st.data(), st.booleans(), st.booleans())
def test_each_row_is_sent_its_own_and_counts_for_its_caller(data: st.DataObject, is_last: bool, is_whole: bool) -> None:
    count = data.draw(st.integers(1, 6))
    calls, callers = np.arange(10, 10 + count, dtype=np.uint64), np.array(data.draw(_numbers(count, 2)))
    frame_ids = np.arange(50, 50 + count, dtype=np.uint64)
    rows = np.arange(count) if is_whole else np.array(data.draw(st.permutations(range(count))))[: max(1, count // 2)]
    lengths = np.array(sorted(data.draw(_numbers(len(rows), 4)), reverse=True)) + 1
    is_ended = np.array(data.draw(_numbers(len(rows), 1)), np.bool_)
    ended, positions = rows[is_ended], 100 + np.arange(is_ended.sum())
    sizes = Sizes(step=8, state=32, row=5)
    sent = sent_of(
        None if is_whole else rows, None, lengths, ended, positions, calls, callers, frame_ids, sizes, is_last=is_last
    )
    num_bytes = 8 * (is_ended if is_last else lengths) + 32 * is_ended
    assert sent.calls.tolist() == calls[rows].tolist()
    assert sent.callers.tolist() == callers[rows].tolist()
    assert sent.frame_ids.tolist() == frame_ids[rows].tolist()
    assert sent.starts.tolist() == [0] * len(rows)
    assert sent.finished.tolist() == is_ended.tolist()
    assert sent.positions[is_ended].tolist() == positions.tolist()
    assert sent.num_bytes.tolist() == num_bytes.tolist()
    assert sent.debts.tolist() == sums_by_caller(callers[rows], num_bytes - 5 * is_ended).tolist()


def _numbers(count: int, most: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, most), min_size=count, max_size=count)
