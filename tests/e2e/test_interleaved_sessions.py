"""Sessions over real gRPC, many at once, against torch.nn on the whole sequence."""

import asyncio

import numpy as np
import pytest
from frames_on_wire import ALL, LAST, NONE, Stepper
from served import Serve, Served
from toys import SPECS, STEPPED, Array, assert_near, random_input, toy

STREAMS, SESSIONS, STEPS = 4, 64, 40


@pytest.mark.parametrize("name", STEPPED)
async def test_64_interleaved_sessions_with_random_chunks_equal_torch(serve: Serve, name: str) -> None:
    served = await serve(name, max_rows=48, max_slice=8)
    rng = np.random.default_rng(1)
    opened = await served.open(name, count=SESSIONS)
    inputs = [random_input(SPECS[name], rng, STEPS) for _ in range(SESSIONS)]
    shares = np.array_split(np.arange(SESSIONS), STREAMS)
    outputs = await asyncio.gather(
        *(
            drive(served, [opened.handles[i] for i in share], [inputs[i] for i in share], k)
            for k, share in enumerate(shares)
        )
    )
    for index, output in enumerate(output for share in outputs for output in share):
        assert_near(output, toy(name).run(inputs[index])[0])
    await served.assert_all_released()


async def drive(served: Served, handles: list[int], inputs: list[Array], seed: int) -> list[Array]:
    """Sends every input in random chunks of random sessions, some frames in flight; the outputs."""
    rng = np.random.default_rng(seed)
    stepper = await served.step()
    sent = np.zeros(len(handles), np.int64)
    outputs: list[list[Array]] = [[] for _ in handles]
    flights = []
    while (sent < STEPS).any():
        left = np.flatnonzero(sent < STEPS)
        which = rng.permutation(left)[: rng.integers(1, len(left) + 1)]
        takes = np.minimum(rng.integers(1, 20, len(which)), STEPS - sent[which])
        which, takes = which[np.argsort(-takes)], -np.sort(-takes)
        rows = [inputs[i][sent[i] : sent[i] + take] for i, take in zip(which, takes, strict=True)]
        named = {"positions": sent[which]} if rng.integers(2) else {}
        flights.append((which, await stepper.send([handles[i] for i in which], rows, **named)))
        sent[which] += takes
        if len(flights) >= 4:
            await collect(stepper, flights, outputs)
    while flights:
        await collect(stepper, flights, outputs)
    assert (await stepper.end()).name == "OK"
    return [np.concatenate(parts) for parts in outputs]


async def collect(stepper: Stepper, flights: list, outputs: list[list[Array]]) -> None:
    which, ask = flights.pop(0)
    await stepper.finish(ask)
    for i, row in zip(which, ask.rows, strict=True):
        assert row.error is None
        outputs[i].append(row.output)


@pytest.mark.parametrize("name", ["lstm", "lstm_proj", "gru", "tokens"])
async def test_only_what_is_asked_for_comes_back(serve: Serve, name: str) -> None:
    served = await serve(name, max_slice=4)
    rng = np.random.default_rng(2)
    stepper = await served.step()
    for want in (ALL, LAST, NONE):
        opened = await served.open(name, count=3)
        inputs = [random_input(SPECS[name], rng, length) for length in (9, 9, 2)]
        ask = await stepper.ask(opened.handles, inputs, return_output=want, return_state=True)
        for row, data in zip(ask.rows, inputs, strict=True):
            output, h_n, c_n = toy(name).run(data)
            assert row.position == len(data)
            if want == NONE:
                assert not row.steps
            else:
                assert_near(row.output, output if want == ALL else output[-1:])
            assert_near(row.h_n, h_n)
            assert (row.c_n is None) == (c_n is None)
            if c_n is not None:
                assert_near(row.c_n, c_n)
    plain = await stepper.ask(opened.handles, inputs)
    assert all(row.h_n is None for row in plain.rows)


async def test_results_of_one_frame_name_its_rows_in_any_order_of_finishing(serve: Serve) -> None:
    served = await serve("gru", max_slice=2, max_rows=2)
    rng = np.random.default_rng(5)
    opened = await served.open("gru", count=5)
    inputs = [random_input(SPECS["gru"], rng, length) for length in (7, 5, 4, 1, 1)]
    ask = await (await served.step()).ask(opened.handles, inputs)
    for row, data in zip(ask.rows, inputs, strict=True):
        assert_near(row.output, toy("gru").run(data)[0])
