"""Whole sequences without a session."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from leaky import leaky_sum

import elman

X = np.arange(10, dtype=np.float32).reshape(5, 2)


def test_one_sequence_gives_its_output_and_state(client):
    output, state = client.model("lstm").infer(X)
    assert np.array_equal(output, leaky_sum(X))
    assert np.array_equal(state.h_n[0, 0], leaky_sum(X)[-1])
    assert np.array_equal(state.c_n, 2 * state.h_n)
    assert state.position == (5,)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=25)
@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=6), is_last=st.booleans())
def test_ragged_sequences_come_back_in_the_callers_order(client, lengths, is_last):
    xs = [np.random.default_rng(length).random((length, 2), np.float32) for length in lengths]
    h_0 = np.random.default_rng(9).random((1, len(lengths), 2), np.float32)
    outputs, state = client.model("sum").infer(xs, h_0=h_0, returning="last" if is_last else "all")
    for row, x in enumerate(xs):
        expected = leaky_sum(x, h_0[0, row])
        assert np.array_equal(outputs[row], expected[-1] if is_last else expected)
        assert np.array_equal(state.h_n[0, row], expected[-1])


def test_a_bidirectional_model_infers_but_keeps_no_sessions(client):
    model = client.model("both-ways")
    output, _ = model.infer(X, returning="none")
    assert output is None
    with pytest.raises(elman.UnsupportedError, match="keeps no sessions"):
        model.session()


def test_states_of_a_wrong_shape_are_refused(client):
    model = client.model("lstm")
    with pytest.raises(elman.InvalidInputError, match=r"h_0: expected \[1, 1, 2\], got \[1, 2\]"):
        model.infer(X, h_0=np.zeros((1, 2)))
    with pytest.raises(elman.InvalidInputError, match=r"c_0: expected \[1, 1, 2\], got \[2\]"):
        model.infer(X, c_0=np.zeros(2))
    with pytest.raises(elman.InvalidInputError, match="expected a sequence with a T axis"):
        model.infer(X[0])


async def test_the_asynchronous_client_does_the_same(aclient):
    outputs, _ = await (await aclient.model("tokens")).infer([np.array([1, 2]), np.array([3, 4, 5])])
    assert [output.tolist() for output in outputs] == [[[1, 0], [2, 1]], [[3, 0], [4, 1], [5, 2]]]
