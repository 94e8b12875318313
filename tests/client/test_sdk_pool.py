"""Stepping many sessions together."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from leaky import leaky_sum

import elman

X = np.random.default_rng(1).random((3, 4, 2), np.float32)
EXPECTED = np.stack([leaky_sum(X[:, row]) for row in range(4)], axis=1)


def test_one_frame_steps_all_sessions(client, server):
    with client.model("sum").sessions(4) as pool:
        assert len(pool) == len(set(pool.ids)) == 4
        assert np.array_equal(pool.step(X), EXPECTED)
        assert pool.positions == (3, 3, 3, 3)
    assert server.frame_rows == [4]


def test_one_step_needs_no_time_axis(client):
    with client.model("sum").sessions(4) as pool:
        assert np.array_equal(pool.step(X[0]), X[0])
    with client.model("tokens").sessions(3) as pool:
        assert pool.step([1, 2, 3]).tolist() == [[1, 0], [2, 0], [3, 0]]


def test_only_what_is_asked_for_comes_back(client):
    with client.model("lstm").sessions(4) as pool:
        result = pool.step(X, returning="last", state=True)
        assert np.array_equal(result.output, EXPECTED[-1])
        assert np.array_equal(result.state.h_n[0], EXPECTED[-1])
        assert np.array_equal(result.state.c_n, 2 * result.state.h_n)
        assert result.state.position == (3, 3, 3, 3)
        assert pool.step(X, returning="none") is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=25)
@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=6), slice=st.integers(1, 4), data=st.data())
def test_ragged_steps_come_back_in_the_callers_order(client, server, lengths, slice, data):
    server.slice(slice)
    returning = data.draw(st.sampled_from(["all", "last"]))
    xs = [np.random.default_rng(length).random((length, 2), np.float32) for length in lengths]
    with client.model("sum").sessions(len(lengths)) as pool:
        result = pool.step(xs, returning=returning, state=True)
        for x, y, h in zip(xs, result.output, result.state.h_n[0], strict=True):
            assert np.array_equal(y, leaky_sum(x) if returning == "all" else leaky_sum(x)[-1])
            assert np.array_equal(h, leaky_sum(x)[-1])
        assert result.state.position == tuple(lengths) == pool.positions


def test_a_subset_of_rows_is_stepped_in_its_order(client):
    with client.model("sum").sessions(4) as pool:
        assert np.array_equal(pool.step(X[:, [3, 1]], rows=[3, 1]), EXPECTED[:, [3, 1]])
        assert pool.positions == (0, 3, 0, 3)
        ys = pool.step([X[:, 0], X[:1, 2]], rows=np.array([0, 2]))
        assert np.array_equal(ys[0], EXPECTED[:, 0])
        assert np.array_equal(ys[1], EXPECTED[:1, 2])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([0, 0], "expected distinct rows"),
        ([4], r"expected numbers in \[0, 4\), got 4"),
        ([-1], r"expected numbers in \[0, 4\), got -1"),
        ([], "expected a list of at least one row number"),
        ([0.5], "expected a list of at least one row number"),
    ],
)
def test_rows_that_mean_nothing_are_refused(client, rows, message):
    with client.model("sum").sessions(4) as pool, pytest.raises(elman.InvalidInputError, match=message):
        pool.step(X, rows=rows)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[:, :3], r"expects \[T, 4, 2\] with T >= 1, or one step \[4, 2\]; got \[3, 3, 2\]"),
        ([X[:, 0]] * 3, "expected 4 arrays, one per session, got 3"),
        ([X[:, 0], X[:, 0], X[:, 0], X[0:0, 0]], r"x\[3\]: .* got \[0, 2\]"),
    ],
)
def test_a_wrong_input_is_refused_before_it_is_sent(client, x, message):
    with client.model("sum").sessions(4) as pool:
        with pytest.raises(elman.InvalidInputError, match=message):
            pool.step(x)
        assert pool.positions == (0, 0, 0, 0)


def test_a_step_larger_than_a_frame_travels_in_several(address, server):
    with elman.Client(address, max_frame_bytes=512) as client, client.model("sum").sessions(20) as pool:
        x = np.random.default_rng(0).random((40, 20, 2), np.float32)
        expected = np.stack([leaky_sum(x[:, row]) for row in range(20)], axis=1)
        result = pool.step(x, state=True)
        assert np.array_equal(result.output, expected)
        assert np.array_equal(result.state.h_n[0], expected[-1])
        ragged = [x[: row + 1, row] for row in range(20)]
        ys = pool.step(ragged, returning="last")
        assert np.array_equal(ys[7], leaky_sum(ragged[7], expected[-1, 7])[-1])
    assert len(server.frame_rows) > 10


def test_a_failed_row_is_told_with_the_others_outputs(client):
    x = X.copy()
    x[1, 2] = np.nan
    with client.model("sum").sessions(4) as pool:
        with pytest.raises(elman.RowErrors) as caught:
            pool.step(x, state=True)
        assert list(caught.value.errors) == [2]
        assert isinstance(caught.value.errors[2], elman.InvalidInputError)
        good = [0, 1, 3]
        assert np.array_equal(caught.value.output[:, good], EXPECTED[:, good])
        assert np.isnan(caught.value.output[:, 2]).all()
        assert np.array_equal(caught.value.state.h_n[0, good], EXPECTED[-1, good])
        assert pool.positions == (3, 3, 0, 3)
        assert np.array_equal(pool.step(X[:, [2]], rows=[2]), EXPECTED[:, [2]])


def test_named_sessions_are_resumed_and_kept(client, server):
    names = ["a", "b", "c", "d"]
    with client.model("sum").sessions(ids=names) as pool:
        pool.step(X[:1])
    assert server.session_ids() == names
    with client.model("sum").sessions(ids=names) as pool:
        assert pool.positions == (1, 1, 1, 1)
        assert np.array_equal(pool.step(X[1:]), EXPECTED[1:])


def test_sessions_that_cannot_be_opened_are_told_by_index_and_none_is_left(client, server):
    with pytest.raises(elman.RowErrors) as caught:
        client.model("small").sessions(3)
    assert list(caught.value.errors) == [2]
    assert isinstance(caught.value.errors[2], elman.LimitReachedError)
    assert server.session_ids("small") == []


@pytest.mark.parametrize("arguments", [{}, {"n": 0}, {"ids": []}, {"n": 1, "ids": ["a"]}])
def test_either_a_number_or_ids_is_needed(client, arguments):
    with pytest.raises(elman.InvalidInputError):
        client.model("sum").sessions(**arguments)


async def test_the_asynchronous_pool_does_the_same(aclient):
    async with (await aclient.model("sum")).sessions(4) as pool:
        assert np.array_equal(await pool.step(X), EXPECTED)
        assert len(await pool.step([X[:1, 0]], rows=[2])) == 1
