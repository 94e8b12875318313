"""An echo that batches: what has been read by a turn of the event loop is one batch of the kernel, and then answered.

    python -m bench.batching_echo --models DIR

What a server that batches costs on grpc.aio at least: it has no sessions, checks, refuses and repeats nothing.
"""

import argparse
import asyncio
import gc
from pathlib import Path
from typing import Any

import grpc

from bench.bare_server import serve_bare
from bench.echo import GREETING, answer_of
from bench.kernel import Kernel
from elman_server.loadgen.event_loop import loop_factory

MAX_ROWS = 4096


class BatchingEcho:
    """Answers each frame of one row and one step with an answer made ahead, after a step of the model."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._waiting: list[asyncio.Future[None]] = []

    async def step(self, _requests: object, context: Any) -> None:
        """Reads, waits for the batch, writes, and so on."""
        loop, answer = asyncio.get_running_loop(), answer_of(self._kernel.stack.spec.output_size)
        await context.write(GREETING)
        while (request := await context.read()) is not grpc.aio.EOF:
            if not self._waiting:
                loop.call_soon(self._run)
            self._waiting.append(loop.create_future())
            await self._waiting[-1]
            answer.frame_id = request.frame_id
            await context.write(answer)

    def _run(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._kernel.step(len(waiting))
        for one in waiting:
            if not one.done():  # else its stream is gone
                one.set_result(None)


def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser(prog="bench.batching_echo")
    parser.add_argument("--models", type=Path, required=True, help="of a server that has run: its plans are measured")
    kernel = Kernel(parser.parse_args().models, MAX_ROWS)
    gc.collect()
    gc.freeze()  # as the server does
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve_bare("batching echo", BatchingEcho(kernel).step, kernel.stack.spec.input_size))


if __name__ == "__main__":
    main()
