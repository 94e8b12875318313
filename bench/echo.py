"""An empty echo: a grpc.aio server with the same stream and the same messages, and nothing behind them.

    python -m bench.echo --output-size 256

What a message through gRPC costs at least; run as a process of its own.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np

from bench.bare_server import Step, serve_bare
from elman import wire
from elman.v1 import inference_pb2
from elman_server.loadgen.event_loop import loop_factory

GREETING = inference_pb2.StepResponse(server_instance="echo")


class Echo:
    """Answers each frame of one row and one step with an answer made ahead."""

    def __init__(self, output_size: int) -> None:
        self._output_size = output_size

    async def step(self, _requests: object, context: Any) -> None:
        """Reads, writes, and so on."""
        answer = answer_of(self._output_size)
        await context.write(GREETING)
        while (request := await context.read()) is not grpc.aio.EOF:
            answer.frame_id = request.frame_id
            await context.write(answer)


def answer_of(output_size: int) -> inference_pb2.StepResponse:
    """An answer to one step of one session; a new one, whose frame_id is yet to be set."""
    output = wire.to_tensor(np.zeros((1, output_size), np.float32))
    return inference_pb2.StepResponse(lengths=[1], finished=[0], positions=[1], output=output)


def main(name: str, serve: Callable[[str, Step, int], Awaitable[None]], step_of: Callable[[int], Step]) -> None:
    """Serves an echo until it is killed. `step_of`: what steps, by the output's size."""
    parser = argparse.ArgumentParser(prog=f"bench.{name}")
    parser.add_argument("--input-size", type=int, default=64)
    parser.add_argument("--output-size", type=int, default=256)
    given = parser.parse_args()

    async def run() -> None:
        await serve(name, step_of(given.output_size), given.input_size)

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(run())


if __name__ == "__main__":
    main("echo", serve_bare, lambda output_size: Echo(output_size).step)
