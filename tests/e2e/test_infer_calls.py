"""Infer: whole sequences without a session, against torch.nn."""

from typing import Any

import numpy as np
import pytest
import torch
from engine_gate import EngineGate
from frames_on_wire import ALL, LAST, NONE
from refusals import refusal_of
from served import Serve
from toys import SPECS, Array, assert_near, pack_rows, random_input, toy, unpack_rows

from elman import wire
from elman.v1 import inference_pb2 as pb

RNG = np.random.default_rng(10)


def request_of(name: str, rows: list[Array], **fields: Any) -> pb.InferRequest:
    return pb.InferRequest(
        model=name, lengths=[len(row) for row in rows], input=wire.to_tensor(pack_rows(rows)), **fields
    )


@pytest.mark.parametrize("name", list(SPECS))
async def test_infer_equals_torch_on_ragged_rows(serve: Serve, name: str) -> None:
    served = await serve(name, max_slice=4, max_rows=3)
    lengths = [30, 7, 7, 2, 1]
    rows = [random_input(SPECS[name], RNG, n) for n in lengths]
    for want in (ALL, LAST, NONE):
        got = await served.inference.Infer(request_of(name, rows, return_output=want, return_state=True))
        expected = [toy(name).run(row) for row in rows]
        if want == ALL:
            for part, (output, _, _) in zip(unpack_rows(wire.from_tensor(got.output), lengths), expected, strict=True):
                assert_near(part, output)
        elif want == LAST:
            assert_near(wire.from_tensor(got.output), np.stack([output[-1] for output, _, _ in expected]))
        else:
            assert not got.HasField("output")
        assert_near(wire.from_tensor(got.h_n), np.stack([h for _, h, _ in expected], axis=1))
        if SPECS[name].has_cell_state:
            assert_near(wire.from_tensor(got.c_n), np.stack([c for _, _, c in expected], axis=1))
    await served.assert_all_released()


@pytest.mark.parametrize("name", ["lstm_proj", "gru", "bi_lstm"])
async def test_infer_begins_where_the_caller_says(serve: Serve, name: str) -> None:
    served = await serve(name)
    spec = SPECS[name]
    rows = [random_input(spec, RNG, n) for n in (5, 3)]
    h = RNG.standard_normal((spec.state_layers, 2, spec.state_size)).astype(np.float32)
    c = RNG.standard_normal((spec.state_layers, 2, spec.hidden_size)).astype(np.float32)
    fields = {"h_0": wire.to_tensor(h)} | ({"c_0": wire.to_tensor(c)} if spec.has_cell_state else {})
    got = await served.inference.Infer(request_of(name, rows, **fields))
    for k, part in enumerate(unpack_rows(wire.from_tensor(got.output), [5, 3])):
        h_k, c_k = torch.from_numpy(h[:, k]), torch.from_numpy(c[:, k])
        assert_near(part, toy(name).run(rows[k], (h_k, c_k) if spec.has_cell_state else h_k)[0])


BAD: dict[str, tuple[dict[str, Any], str, str, tuple[str, ...]]] = {
    "a model": ({"model": "x"}, "NOT_FOUND", "UNKNOWN_MODEL", ("'x'", "lstm")),
    "a version": ({"version": "7"}, "NOT_FOUND", "UNKNOWN_MODEL", ("'7'",)),
    "no rows": ({"lengths": []}, "INVALID_ARGUMENT", "INVALID_INPUT", ("at least one",)),
    "lengths": ({"lengths": [3, 3]}, "INVALID_ARGUMENT", "INVALID_INPUT", ("[6, 3]", "[5, 3]")),
    "zero steps": ({"lengths": [5, 0]}, "INVALID_ARGUMENT", "INVALID_INPUT", ("at least 1",)),
    "h_0 alone": (
        {"h_0": wire.to_tensor(np.zeros((2, 2, 5), np.float32))},
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        ("c_0",),
    ),
    "a shape of h_0": (
        {
            "h_0": wire.to_tensor(np.zeros((2, 1, 5), np.float32)),
            "c_0": wire.to_tensor(np.zeros((2, 2, 5), np.float32)),
        },
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        ("h_0", "[2, 2, 5]", "[2, 1, 5]"),
    ),
    "a state that is not finite": (
        {
            "h_0": wire.to_tensor(np.full((2, 2, 5), np.nan, np.float32)),
            "c_0": wire.to_tensor(np.zeros((2, 2, 5), np.float32)),
        },
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        ("h_0", "NaN"),
    ),
    "input that is not finite": (
        {"input": wire.to_tensor(np.full((5, 3), np.inf, np.float32))},
        "INVALID_ARGUMENT",
        "INVALID_INPUT",
        ("row 0", "infinite"),
    ),
    "no time": ({"timeout": {"seconds": 0}}, "DEADLINE_EXCEEDED", "DEADLINE_PASSED", ("not applied",)),
    "a timeout": ({"timeout": {"seconds": -1}}, "INVALID_ARGUMENT", "INVALID_INPUT", ("timeout",)),
}


async def test_a_bad_infer_is_refused_with_what_was_expected(serve: Serve) -> None:
    served = await serve("lstm")
    rows = [random_input(SPECS["lstm"], RNG, n) for n in (3, 2)]
    for name, (fields, code, reason, says) in BAD.items():
        request = request_of("lstm", rows)
        for field in fields:
            request.ClearField(field)
        request.MergeFrom(pb.InferRequest(**fields))
        refusal = await refusal_of(served.inference.Infer(request))
        assert (refusal.code, refusal.reason) == (code, reason), name
        assert all(text in refusal.message for text in says), (name, refusal.message)
    await served.assert_all_released()
    got = await served.inference.Infer(request_of("lstm", rows))
    assert_near(unpack_rows(wire.from_tensor(got.output), [3, 2])[0], toy("lstm").run(rows[0])[0])


async def test_infer_beyond_its_limits_is_told_which_and_whether_to_retry(serve: Serve) -> None:
    served = await serve("lstm", "bi_lstm", max_infer_rows=3, max_infer_steps=10, max_frame_bytes=2048)
    one = random_input(SPECS["lstm"], RNG, 1)
    too_many = await refusal_of(served.inference.Infer(request_of("lstm", [one] * 4)))
    assert (too_many.code, too_many.retry_seconds) == ("RESOURCE_EXHAUSTED", None)
    assert "max_infer_rows is 3" in too_many.message
    too_long = await refusal_of(served.inference.Infer(request_of("bi_lstm", [random_input(SPECS["lstm"], RNG, 11)])))
    assert too_long.code == "INVALID_ARGUMENT"
    assert "max_infer_steps, 10" in too_long.message
    too_large = await refusal_of(served.inference.Infer(request_of("lstm", [random_input(SPECS["lstm"], RNG, 400)])))
    assert (too_large.code, too_large.retry_seconds) == ("RESOURCE_EXHAUSTED", None)
    async with EngineGate(served) as engine_gate:
        first = served.inference.Infer(request_of("lstm", [one] * 2))
        await engine_gate.arrived(1)
        second = served.inference.Infer(request_of("lstm", [one] * 2))
        await engine_gate.arrived(2)
    busy = await refusal_of(second)
    assert busy.code == "RESOURCE_EXHAUSTED"
    assert busy.retry_seconds
    await first


async def test_the_calls_of_one_caller_stay_within_its_limits(serve: Serve) -> None:
    served = await serve("lstm", max_caller_rows=3)
    one = random_input(SPECS["lstm"], RNG, 1)
    too_many = await refusal_of(served.inference.Infer(request_of("lstm", [one] * 4)))
    assert (too_many.code, too_many.retry_seconds) == ("RESOURCE_EXHAUSTED", None)
    async with EngineGate(served) as engine_gate:
        first = served.inference.Infer(request_of("lstm", [one] * 2))
        await engine_gate.arrived(1)
        busy = await refusal_of(served.inference.Infer(request_of("lstm", [one] * 2)))
    assert busy.code == "RESOURCE_EXHAUSTED"
    assert "max_caller_rows is 3: 2 wait and 2 came" in busy.message
    assert busy.retry_seconds
    await first
    await served.inference.Infer(request_of("lstm", [one] * 3))


async def test_a_cancelled_infer_gives_its_slots_back(serve: Serve) -> None:
    served = await serve("lstm")
    rows = [random_input(SPECS["lstm"], RNG, 40)] * 5
    async with EngineGate(served) as engine_gate:
        call = served.inference.Infer(request_of("lstm", rows))
        await engine_gate.arrived(1)
        call.cancel()
        await engine_gate.arrived(2)
    await served.assert_all_released()
