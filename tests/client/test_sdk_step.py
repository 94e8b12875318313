"""Stepping one session."""

import numpy as np
import pytest
from leaky import leaky_sum

import elman

X = np.arange(10, dtype=np.float32).reshape(5, 2)


def test_steps_continue_where_the_last_one_ended(client):
    with client.model("sum").session() as session:
        parts = [session.step(X[:2]), session.step(X[2:3]), session.step(X[3:])]
        assert np.array_equal(np.concatenate(parts), leaky_sum(X))
        assert session.position == 5


def test_a_single_step_needs_no_time_axis(client):
    with client.model("sum").session() as session:
        output = session.step(X[0])
        assert output.shape == (2,)
        assert np.array_equal(output, X[0])


def test_a_token_model_takes_one_id_or_several(client):
    with client.model("tokens").session() as session:
        assert session.step(7).tolist() == [7, 0]
        assert session.step([3, 4]).tolist() == [[3, 1], [4, 2]]


def test_only_what_is_asked_for_comes_back(client):
    with client.model("sum").session() as session:
        assert np.array_equal(session.step(X[:3], returning="last"), leaky_sum(X)[2])
        assert session.step(X[3:], returning="none") is None
        assert session.position == 5


@pytest.mark.parametrize("every", [1, 2, 3, 5, 6])
def test_of_every_so_many_steps_the_last_ones_output_comes_back(client, every):
    with client.model("sum").session() as session:
        output = session.step(X, every=every)
        assert output.shape == (5 // every, 2)
        assert np.array_equal(output, leaky_sum(X)[every - 1 :: every])
        result = session.step(X, every=every, state=True)
        assert result.state.position == session.position == 10
        assert np.array_equal(result.state.h_n[0, 0], leaky_sum(np.concatenate([X, X]))[-1])


def test_every_is_a_number_and_stands_alone(client):
    with client.model("sum").session() as session:
        with pytest.raises(elman.InvalidInputError, match="every: expected at least 1, got 0"):
            session.step(X, every=0)
        with pytest.raises(TypeError, match="every: expected an integer, got 'x'"):
            session.step(X, every="x")
        with pytest.raises(elman.InvalidInputError, match="returning: every 2-th step's output is asked for"):
            session.step(X, every=2, returning="none")


def test_the_state_comes_with_the_output_or_by_itself(client):
    with client.model("lstm").session() as session:
        result = session.step(X, state=True)
        assert np.array_equal(result.output, leaky_sum(X))
        for state in (result.state, session.state()):
            assert state.h_n.shape == (1, 1, 2)
            assert np.array_equal(state.h_n[0, 0], leaky_sum(X)[-1])
            assert np.array_equal(state.c_n, 2 * state.h_n)
            assert state.position == 5
        assert session.step(X, returning="none", state=True).output is None


def test_a_gru_has_no_cell_state(client):
    with client.model("sum").session() as session:
        assert session.step(X, state=True).state.c_n is None
        assert session.state().c_n is None


@pytest.mark.parametrize("convert", [np.float64, np.int32, np.float16, lambda x: x.tolist(), lambda x: x[::-1][::-1]])
def test_anything_array_like_is_cast(client, convert):
    with client.model("sum").session() as session:
        assert np.array_equal(session.step(convert(X) if callable(convert) else X), leaky_sum(X))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int64"])
def test_torch_tensors_are_taken(client, dtype):
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(X.copy()).to(getattr(torch, dtype))
    with client.model("sum").session() as session:
        assert np.array_equal(session.step(tensor), leaky_sum(X))


def test_a_torch_tensor_that_wants_gradients_is_taken(client):
    torch = pytest.importorskip("torch")
    with client.model("sum").session() as session:
        assert np.array_equal(session.step(torch.from_numpy(X.copy()).requires_grad_()), leaky_sum(X))


def test_the_callers_array_may_change_at_once_and_the_output_is_the_callers(client):
    buffer = X.copy()
    with client.model("sum").session() as session:
        output = session.step(buffer)
        buffer[:] = 0
        output += 1  # writable
        assert np.array_equal(output, leaky_sum(X) + 1)


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        ("sum", np.zeros((3, 4)), r"model 'sum' expects \[T, 2\] with T >= 1, or one step \[2\]; got \[3, 4\]"),
        ("sum", np.zeros((0, 2)), r"T >= 1.* got \[0, 2\]"),
        ("sum", np.zeros((1, 1, 2)), r"got \[1, 1, 2\]"),
        ("sum", 1.0, r"got \[\]"),
        ("sum", [["a", "b"]], "expected real numbers"),
        ("sum", [[1, 2], [3]], "expected an array of numbers"),
        ("sum", np.zeros((1, 2), complex), "got dtype complex128"),
        ("tokens", [0.5], "expected integer token ids, got dtype float64"),
        ("tokens", [[1]], r"expects \[T\] with T >= 1, or one step \[\]; got \[1, 1\]"),
    ],
)
def test_a_wrong_input_is_refused_before_it_is_sent(client, server, model, x, message):
    with client.model(model).session() as session:
        with pytest.raises(elman.InvalidInputError, match=message) as caught:
            session.step(x)
        assert isinstance(caught.value, ValueError)
        assert session.position == 0
    assert server.frame_rows == []


def test_options_that_mean_nothing_are_refused(client):
    with client.model("sum").session() as session:
        with pytest.raises(elman.InvalidInputError, match="returning: expected one of all, last, none, got 'some'"):
            session.step(X, returning="some")
        with pytest.raises(elman.InvalidInputError, match="timeout: expected more than 0 and at most"):
            session.step(X, timeout=0)


def test_a_chunk_larger_than_a_frame_travels_in_several(address, server):
    with elman.Client(address, max_frame_bytes=1024) as client, client.model("sum").session() as session:
        x = np.random.default_rng(0).random((1000, 2), np.float32)
        assert np.array_equal(session.step(x), leaky_sum(x))
        result = session.step(x, returning="last", state=True)
        assert result.state.position == 2000
        assert np.array_equal(result.output, result.state.h_n[0, 0])
    assert len(server.frame_rows) > 10


def test_an_answer_in_slices_is_put_together(client, server):
    server.slice(2)
    with client.model("sum").session() as session:
        assert np.array_equal(session.step(X), leaky_sum(X))
        assert session.step(X, returning="last", state=True).state.position == 10


async def test_the_asynchronous_client_does_the_same(aclient):
    model = await aclient.model("sum")
    async with model.session() as session:
        assert np.array_equal(await session.step(X[:2]), leaky_sum(X)[:2])
        result = await session.step(X[2:], returning="last", state=True)
        assert np.array_equal(result.output, leaky_sum(X)[-1])
        assert (await session.state()).position == 5
    session = await model.session()
    assert np.array_equal(await session.step(X[0]), X[0])
    await session.close()


def test_models_are_described(client, server):
    assert [info.name for info in client.models()] == ["both-ways", "lstm", "small", "sum", "tokens"]
    info = client.model("tokens").info
    assert info.takes_tokens
    assert info.embedding == elman.EmbeddingInfo(num_embeddings=10, embedding_dim=4)
    assert (info.cell, info.input_features, info.output_size, info.input_dtype) == ("gru", (), 2, np.int64)
    assert client.model("lstm").info.has_cell_state


def test_readiness_is_told_of_the_server_and_of_each_model(client, server):
    assert client.is_ready()
    assert client.is_ready("sum")
    assert not client.is_ready("nothing")
    server.stop()
    assert not client.is_ready()
