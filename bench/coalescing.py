"""Coalescing: coroutines that step a session each through one SDK client, against one unary call per step."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import numpy as np

from bench.bundles import NAME, NUM_LAYERS, write_model
from bench.clients import Clients, clients
from bench.effort import Effort
from bench.frames import sdk_load
from bench.median import median
from bench.progress import rounds
from bench.result import Bar, Figure, Result
from bench.sdk_client import calls_per_second, coroutines
from bench.serving import Served, serve
from elman import wire
from elman.v1 import inference_pb2, inference_pb2_grpc
from elman_server.loadgen.generator import run_loop


@dataclass(frozen=True)
class Round:
    """Session-steps a second, and rows per batch."""

    coalesced: float
    unary: float
    coalesced_rows: float
    unary_rows: float


def measure(effort: Effort, folder: Path) -> Result:
    """The two in turn, on one server."""
    with serve(write_model(folder, effort)) as served, clients() as own:
        found = [_round(effort, served, own) for _ in rounds("coalescing", effort.rounds)]
    count = effort.sessions
    return Result(
        name="coalescing",
        bars=(
            Bar(
                f"{count} coroutines with a session each over {count} that await one unary call per step",
                median(found, lambda r: r.coalesced / r.unary),
                5.0,
                at_most=False,
            ),
        ),
        figures=(
            Figure("coalesced by the SDK", median(found, lambda r: r.coalesced), "session-steps/s"),
            Figure("unary, the state sent back and forth", median(found, lambda r: r.unary), "session-steps/s"),
            Figure("rows per batch, coalesced", median(found, lambda r: r.coalesced_rows)),
            Figure("rows per batch, unary", median(found, lambda r: r.unary_rows)),
        ),
    )


def _round(effort: Effort, served: Served, own: Clients) -> Round:
    rates, rows = [], []
    for function in (coalesced, unary):
        before = served.probe()
        rates.append(own.start(function, served.address, effort).result())
        rows.append((served.probe() - before).rows_per_batch)
    return Round(*rates, *rows)


def coalesced(address: str, effort: Effort) -> float:
    """Session-steps a second through the SDK. Runs in a client process."""
    return run_loop(coroutines(sdk_load(effort, address)))


def unary(address: str, effort: Effort) -> float:
    """Session-steps a second by unary calls of raw stubs, cheaper than any SDK's. Runs in a client process."""
    return run_loop(_unary(address, effort))


async def _unary(address: str, effort: Effort) -> float:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = inference_pb2_grpc.InferenceStub(channel)
        x = wire.to_tensor(np.zeros((1, effort.input_size), np.float32))
        zeros = wire.to_tensor(np.zeros((NUM_LAYERS, 1, effort.hidden_size), np.float32))
        states = [(zeros, zeros)] * effort.sessions

        async def step(index: int) -> None:
            h_0, c_0 = states[index]
            request = inference_pb2.InferRequest(model=NAME, lengths=[1], input=x, h_0=h_0, c_0=c_0, return_state=True)
            answer = await stub.Infer(request)
            states[index] = answer.h_n, answer.c_n

        calls = [partial(step, index) for index in range(effort.sessions)]
        return await calls_per_second(calls, effort.warm_up_seconds, effort.seconds)
