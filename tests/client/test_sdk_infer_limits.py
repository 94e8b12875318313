"""Inference of more than a server takes at a time, and of nothing, on the fake server and on a real one."""

from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
from any_server import MAX_FRAME_BYTES, MAX_INFER_ROWS, AnyServer
from leaky import leaky_sum

import elman

RNG = np.random.default_rng(0)


@pytest.fixture
def any_client(any_server: AnyServer) -> Iterator[elman.Client]:
    """One that takes the server's limits for larger than they are."""
    with elman.Client(any_server.address, timeout=60) as client:
        yield client


@pytest.fixture
async def any_aclient(any_server: AnyServer) -> AsyncIterator[elman.AsyncClient]:
    async with elman.AsyncClient(any_server.address, timeout=60) as client:
        yield client


def sequences(*lengths: int) -> list[np.ndarray]:
    return [RNG.random((length, 2), np.float32) for length in lengths]


@pytest.mark.parametrize("returning", ["all", "last", "none"])
@pytest.mark.parametrize(
    "lengths",
    [
        [3] * (3 * MAX_INFER_ROWS + 1),
        [1 + number % 7 for number in range(5 * MAX_INFER_ROWS)],
        [200, 1, 300, 299, 2],  # more bytes than a message holds, in rows that fit
        [700, 3, 1500, 5],  # rows that don't
        [2000],
    ],
    ids=["many", "ragged", "large", "too large", "one"],
)
def test_what_is_too_much_for_one_request_is_cut_and_comes_back_in_order(any_client, lengths, returning):
    xs = sequences(*lengths)
    h_0 = RNG.random((1, len(xs), 2), np.float32)
    outputs, state = any_client.model("sum").infer(xs, h_0=h_0, returning=returning)
    expected = [leaky_sum(x, h_0[0, row]) for row, x in enumerate(xs)]
    assert state.position == tuple(lengths)
    assert np.allclose(state.h_n[0], [y[-1] for y in expected], rtol=1e-5)
    for row, y in enumerate(expected):
        if returning == "none":
            assert outputs is None
        else:
            assert np.allclose(outputs[row], y if returning == "all" else y[-1], rtol=1e-5)


def test_a_cut_sequence_goes_on_from_its_own_state_and_begins_at_zeros(any_client):
    x = np.ones((2000, 2), np.float32)
    output, _ = any_client.model("sum").infer(x)
    assert np.allclose(output, leaky_sum(x), rtol=1e-5)
    (one, two), _ = any_client.model("sum").infer([x, x[:3]], returning="last")
    assert np.allclose([one, two], [leaky_sum(x)[-1], leaky_sum(x[:3])[-1]], rtol=1e-5)


async def test_a_cut_inference_gives_what_a_whole_one_does(any_aclient):
    model = await any_aclient.model("lstm")
    x = RNG.random((600, 2), np.float32)
    h_0, c_0 = RNG.random((2, 1, 1, 2), np.float32)
    output, state = await model.infer(x, h_0=h_0, c_0=c_0)
    half, between = await model.infer(x[:300], h_0=h_0, c_0=c_0)
    rest, last = await model.infer(x[300:], h_0=between.h_n, c_0=between.c_n)
    assert np.allclose(output, np.concatenate([half, rest]), rtol=1e-5, atol=1e-6)
    assert np.allclose(state.h_n, last.h_n, rtol=1e-5, atol=1e-6)
    assert np.allclose(state.c_n, last.c_n, rtol=1e-5, atol=1e-6)


def test_a_sequence_that_cannot_be_cut_is_refused_with_the_remedy(any_client):
    model = any_client.model("both-ways")
    with pytest.raises(elman.LimitReachedError, match="bidirectional model takes a sequence whole: raise") as caught:
        model.infer(sequences(3, 700, 2))
    assert "sequence 1 of x, of 700 steps" in str(caught.value)
    assert str(MAX_FRAME_BYTES) in str(caught.value)
    outputs, _ = model.infer(sequences(*[40] * 20))  # whole sequences, in several requests
    assert [len(output) for output in outputs] == [40] * 20


def test_what_the_server_said_of_its_limits_is_kept_in_mind(any_client):
    model = any_client.model("sum")
    model.infer(sequences(*[1] * (MAX_INFER_ROWS + 1)))
    assert model._core._infer_limits.max_rows == MAX_INFER_ROWS
    model.infer(sequences(600))
    assert model._core._infer_limits.max_bytes < MAX_FRAME_BYTES


@pytest.mark.parametrize("returning", ["all", "last"])
@pytest.mark.parametrize("num_rows", [1, 4, 2 * MAX_INFER_ROWS])
def test_an_array_of_sequences_is_what_a_pool_steps(any_client, num_rows, returning):
    model = any_client.model("sum")
    x = RNG.random((5, num_rows, 2), np.float32)
    output, state = model.infer(x, returning=returning)
    with model.sessions(num_rows) as pool:
        stepped = pool.step(x, returning=returning, state=True)
    assert output.shape == stepped.output.shape
    assert np.allclose(output, stepped.output, rtol=1e-5)
    assert np.allclose(state.h_n, stepped.state.h_n, rtol=1e-5)
    assert state.position == stepped.state.position


def test_ids_of_a_token_model_are_taken_in_each_form(any_client):
    model = any_client.model("tokens")
    one = model.infer([1, 2, 3])[0]
    assert one.shape == (3, 2)
    several = [[1, 2, 3], [4, 5, 6]]
    for given in (several, [np.array(ids) for ids in several], tuple(several)):
        outputs, _ = model.infer(given)  # a list is one of sequences
        assert len(outputs) == 2
        assert np.allclose(outputs[0], one, rtol=1e-5)
    outputs, _ = model.infer(np.array(several).T)  # an array is [T, K]
    assert outputs.shape == (3, 2, 2)
    assert np.allclose(outputs[:, 0], one, rtol=1e-5)
    assert [len(output) for output in model.infer([[1], [2, 3]])[0]] == [1, 2]


@pytest.mark.parametrize(("name", "layers", "size"), [("sum", 1, 2), ("lstm", 1, 2), ("tokens", 1, 1)])
@pytest.mark.parametrize("returning", ["all", "last", "none"])
def test_of_no_sequences_the_outputs_and_states_are_empty_in_the_models_shapes(
    any_client, name, layers, size, returning
):
    model = any_client.model(name)
    output, state = model.infer([], returning=returning)
    assert output == (None if returning == "none" else [])
    assert state.h_n.shape == (layers, 0, size)
    assert state.h_n.dtype == np.float32
    assert (None if state.c_n is None else state.c_n.shape) == ((layers, 0, size) if name == "lstm" else None)
    assert state.position == ()
    even, _ = model.infer(np.empty((5, 0, *model.info.input_features), model.info.input_dtype), returning=returning)
    shape = {"all": (5, 0, model.info.output_size), "last": (0, model.info.output_size), "none": None}[returning]
    assert (None if even is None else even.shape) == shape


def test_a_sequence_without_steps_is_refused(any_client):
    for name, x in (("sum", np.empty((0, 2))), ("tokens", np.empty(0, int)), ("sum", np.empty((0, 3, 2)))):
        with pytest.raises(elman.InvalidInputError, match="T >= 1"):
            any_client.model(name).infer(x)
    with pytest.raises(elman.InvalidInputError, match=r"x\[1\].*T >= 1"):
        any_client.model("tokens").infer([[1], []])
