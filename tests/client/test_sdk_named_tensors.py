"""Tensors by name on models of one input and output, and what is refused before anything is sent."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from leaky import leaky_sum

import elman
from elman._shared.arrays import to_context, to_sequence
from elman._shared.records import fill_named, read_record
from elman._stepping.answers import thread_future
from elman._stepping.frame import Frame
from elman._stepping.options import StepOptions, StepTerms, frame_key, max_steps
from elman._stepping.session_step import begin_step
from elman._stepping.session_table import SessionTable
from elman.testing import FakeModel, FakeServer
from elman.v1 import inference_pb2, models_pb2, tensor_pb2

X = np.arange(6, dtype=np.float32).reshape(3, 2)
LISTS = ("inputs", "context", "states", "outputs")


def described(*, last_only: tuple[bool, bool] = (False, False), **fields: Any) -> elman.ModelInfo:
    """A model of ids and floats, two outputs, a context, and states that are not one stack's."""
    message = models_pb2.ModelInfo(name="named", version="1", **fields)
    message.inputs.add(name="item", dtype=tensor_pb2.DATA_TYPE_I64, num_embeddings=7)
    message.inputs.add(name="cov", dtype=tensor_pb2.DATA_TYPE_F32, features=[2])
    message.context.add(name="speaker", dtype=tensor_pb2.DATA_TYPE_I64, num_embeddings=4)
    message.states.add(name="conv.cache", dtype=tensor_pb2.DATA_TYPE_F32, features=[4, 4])
    message.states.add(name="rnn.h", dtype=tensor_pb2.DATA_TYPE_F32, features=[5], layers=2)
    message.outputs.add(name="policy", dtype=tensor_pb2.DATA_TYPE_F32, features=[3], last_only=last_only[0])
    message.outputs.add(name="value", dtype=tensor_pb2.DATA_TYPE_F32, last_only=last_only[1])
    return elman.ModelInfo.from_proto(message)


def options(**wanted: Any) -> StepOptions:
    return StepOptions(**({"returning": None, "outputs": None, "state": False, "timeout_seconds": None} | wanted))


@pytest.mark.parametrize(
    "model",
    [
        FakeModel("sum", input_size=2),
        FakeModel("lstm", input_size=2, is_lstm=True),
        FakeModel("tokens", input_size=4, hidden_size=1, output_size=2, num_embeddings=10),
        FakeModel("both-ways", input_size=2, is_bidirectional=True),
    ],
    ids=lambda model: model.name,
)
def test_an_earlier_server_that_knows_no_names_is_understood(model: FakeModel) -> None:
    message = model.info()
    now = elman.ModelInfo.from_proto(message)
    for name in (*LISTS, "needs_whole_sequences"):
        message.ClearField(name)  # type: ignore[arg-type]
    assert elman.ModelInfo.from_proto(message) == now


@pytest.mark.parametrize("name", ["sum", "lstm"])
def test_a_model_of_one_input_takes_it_by_name_and_answers_by_name_where_asked(client: elman.Client, name: str) -> None:
    model = client.model(name)
    expected = leaky_sum(X)
    with model.session() as session:
        assert np.array_equal(session.step({"input": X}), expected)
    with model.session() as session:
        result = session.step(X, outputs=["output"], state=True)
        assert list(result.output) == ["output"]
        assert np.array_equal(result.output["output"], expected)
    with model.session() as session:
        parts = list(session.stream([{"input": X[:1]}, X[1:]], outputs=("output",)))
        assert np.array_equal(np.concatenate([part["output"] for part in parts]), expected)
    with model.sessions(2) as pool:
        both = pool.step({"input": np.stack([X, X], axis=1)}, outputs=["output"])
        assert np.array_equal(both["output"], np.stack([expected, expected], axis=1))
        ragged = pool.step([{"input": X}, {"input": X[:1]}])
        assert [len(one) for one in ragged] == [3, 1]
    (one, two), _ = model.infer([{"input": X}, X[:2]])
    assert np.array_equal(one, expected)
    assert np.array_equal(two, expected[:2])
    even, _ = model.infer({"input": np.stack([X, X], axis=1)}, outputs=["output"])
    assert even["output"].shape == (3, 2, 2)


async def test_coroutines_have_the_same(aclient: elman.AsyncClient) -> None:
    model = await aclient.model("sum")
    async with model.session() as session:
        assert np.array_equal((await session.step({"input": X}, outputs=["output"]))["output"], leaky_sum(X))
    outputs, _ = await model.infer([{"input": X}], outputs=["output"])
    assert np.array_equal(outputs[0]["output"], leaky_sum(X))


def test_a_stacks_state_is_read_by_attribute_and_by_name_and_begins_a_sequence_either_way(client: elman.Client) -> None:
    model = client.model("lstm")
    with model.session() as session:
        session.step(X)
        state = session.state()
    assert list(state) == ["h", "c"]
    assert state["h"] is state.h_n
    assert state["c"] is state.c_n
    assert (state.h_n.shape, state.position) == ((1, 1, 2), 3)
    by_name, _ = model.infer([X], initial_state=state)
    by_stack, _ = model.infer([X], h_0=state.h_n, c_0=state.c_n)
    assert np.array_equal(by_name[0], by_stack[0])
    assert not np.array_equal(by_name[0], leaky_sum(X))
    gru, _ = client.model("sum").infer([X], initial_state={"h": state["h"]})
    assert np.array_equal(gru[0], by_stack[0])


@pytest.mark.parametrize("wanted", [["policy"], ["output", "output"], [], [["output"]], "output", 5])
def test_outputs_that_cannot_be_are_refused_before_anything_is_sent(
    client: elman.Client, server: FakeServer, wanted: Any
) -> None:
    model = client.model("sum")
    with model.session() as session, model.sessions(2) as pool:
        calls: list[Callable[[], Any]] = [
            lambda: session.step(X, outputs=wanted),
            lambda: list(session.stream([X], outputs=wanted)),
            lambda: pool.step(np.stack([X, X], axis=1), outputs=wanted),
            lambda: model.infer([X], outputs=wanted),
        ]
        for call in calls:
            with pytest.raises((elman.InvalidInputError, TypeError), match="outputs: expected some of 'output', each"):
                call()
        assert (session.position, pool.positions) == (0, (0, 0))
    assert server.frame_rows == []


def test_a_context_that_the_model_has_not_is_refused_before_a_session_begins(
    client: elman.Client, server: FakeServer
) -> None:
    model = client.model("sum")
    for call in (
        lambda: model.session("a", context={"speaker": 3}),
        lambda: model.sessions(2, context={"speaker": [1, 2]}),
        lambda: model.infer([X], context={"speaker": [1]}),
    ):
        with pytest.raises(elman.InvalidInputError, match="context: model 'sum' expects none, got 'speaker'"):
            call()
    assert server.session_ids("sum") == []


@pytest.mark.parametrize(
    ("context", "num_rows", "message"),
    [
        (None, None, "context: model 'named' expects 'speaker', got none"),
        ({"speaker": 1, "style": 2}, None, "expects 'speaker', got 'speaker', 'style'"),
        ({"speaker": [1, 2]}, None, r"context\['speaker'\]: expected \[\], got \[2\]"),
        ({"speaker": [1, 2]}, 3, r"context\['speaker'\]: expected \[3\], got \[2\]"),
        ({"speaker": 0.5}, None, r"context\['speaker'\]: expected integer token ids"),
    ],
)
def test_a_context_that_is_missing_unknown_or_ill_shaped_is_told(
    context: Any, num_rows: int | None, message: str
) -> None:
    with pytest.raises(elman.InvalidInputError, match=message):
        to_context(context, described(), num_rows)


@pytest.mark.parametrize(("last_only", "expected"), [((True, True), "last"), ((True, False), "all")])
def test_by_default_the_last_step_returns_where_all_outputs_are_of_the_last(
    last_only: tuple[bool, bool], expected: str
) -> None:
    info = described(last_only=last_only)
    assert options().of(info).returning == expected
    for said in ("all", "last", "none"):
        assert options(returning=said).of(info).returning == said


def test_inputs_of_several_dtypes_are_cast_each_and_travel_by_name() -> None:
    info = described()
    steps, is_single = to_sequence({"cov": [[1, 2], [3, 4]], "item": np.array([5, 6], np.uint8)}, info, None)
    assert (len(steps), is_single) == (2, False)
    request = inference_pb2.StepRequest()
    fill_named(request.inputs, info.inputs, steps[1:])
    assert [(one.name, list(one.tensor.shape), one.tensor.dtype) for one in request.inputs] == [
        ("item", [1], tensor_pb2.DATA_TYPE_I64),
        ("cov", [1, 2], tensor_pb2.DATA_TYPE_F32),
    ]
    back = read_record(request.inputs)
    assert (back["item"].tolist(), back["cov"].tolist()) == ([6], [[3, 4]])


def test_chunks_that_want_different_outputs_share_no_frame() -> None:
    info = described()
    keys = {frame_key(info, options(outputs=wanted).of(info)) for wanted in (None, ["policy"], ["value"])}
    assert len(keys) == 3
    assert frame_key(info, options().of(info)) in keys


def test_a_frame_names_the_outputs_that_are_wanted_and_no_others() -> None:
    info, table = described(), SessionTable()
    row = table.add("named", ["a"], 8).item()
    for wanted in (["value"], None):
        x = {"item": [1, 2], "cov": np.ones((2, 2))}
        pending = begin_step(x, info, row, StepTerms.of(options(outputs=wanted), info, 1 << 20), thread_future)
        request = Frame.of_chunks(1, pending.chunks).encode(table, "")
        assert list(request.outputs) == (wanted or [])
        assert [one.name for one in request.inputs] == ["item", "cov"]
        assert not request.HasField("input")


def test_a_message_is_cut_by_the_outputs_that_are_wanted() -> None:
    info = described()  # 16 bytes of inputs a step, and 16 of outputs
    assert max_steps(info, options().of(info), 1600) == 100
    wide = dataclasses.replace(info, outputs=(dataclasses.replace(info.outputs[0], features=(8,)), info.outputs[1]))
    assert max_steps(wide, options().of(wide), 3600) == 100
    assert max_steps(wide, options(outputs=["value"]).of(wide), 3600) == 225


def test_what_there_is_one_of_is_not_told_of_a_model_of_several() -> None:
    info = described()
    with pytest.raises(
        AttributeError, match="input_dtype: model 'named' has several inputs, see `inputs`: 'item', 'cov'"
    ):
        _ = info.input_dtype
    with pytest.raises(AttributeError, match="'policy', 'value'"):
        _ = info.output_dtype
    assert not info.takes_tokens
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.inputs[0].name = "other"  # type: ignore[misc]


def test_a_scalar_of_each_step_is_no_token() -> None:
    message = FakeModel("scalar").info()
    del message.inputs[0].features[:]
    message.ClearField("input_features")
    assert not elman.ModelInfo.from_proto(message).takes_tokens
