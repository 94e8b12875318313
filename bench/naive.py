"""The server that people write today: gRPC, a dict of states, and one call of the module per message; no batching.

    python -m bench.naive --models DIR

It speaks the same contract, so that one client drives both.
"""

import argparse
import asyncio
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import torch

from bench.bare_server import serve_bare
from elman.v1 import inference_pb2, tensor_pb2
from elman_models import find_bundles, read_spec, read_weights
from elman_server.loadgen.event_loop import loop_factory

Hx = tuple[torch.Tensor, torch.Tensor]


class Naive:
    """Steps one session per message."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._states: dict[int, Hx] = {}

    async def step(self, _requests: object, context: Any) -> None:
        """A message, a step, an answer."""
        await context.write(inference_pb2.StepResponse(server_instance="naive"))
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(self._answer(request))

    @torch.inference_mode()
    def _answer(self, request: inference_pb2.StepRequest) -> inference_pb2.StepResponse:
        session = request.handles[0]
        x = torch.from_numpy(np.frombuffer(request.input.data, np.float32).copy()).view(1, 1, -1)
        y, self._states[session] = self._module(x, self._states.get(session))
        output = tensor_pb2.Tensor(dtype=tensor_pb2.DATA_TYPE_F32, shape=y.shape[1:], data=y.numpy().tobytes())
        return inference_pb2.StepResponse(frame_id=request.frame_id, lengths=[1], finished=[0], output=output)


def main() -> None:
    """Serves until it is killed."""
    parser = argparse.ArgumentParser(prog="bench.naive")
    parser.add_argument("--models", type=Path, required=True)
    bundle = find_bundles(parser.parse_args().models)[0]
    torch.set_num_threads(1)
    spec = read_spec(bundle)
    module = torch.nn.LSTM(spec.input_size, spec.hidden_size, spec.num_layers)
    module.load_state_dict({k.removeprefix("rnn."): w for k, w in read_weights(bundle, spec).items()})
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve_bare("naive", Naive(module).step, spec.input_size))


if __name__ == "__main__":
    main()
