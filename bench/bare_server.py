"""A bare server: `Step` by a handler of one's own and `DescribeModel`, and nothing else of the contract."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from elman.v1 import inference_pb2, models_pb2

Step = Callable[[object, Any], Awaitable[None]]
"""Of the requests, which the context reads too, and the context."""


async def serve_bare(name: str, step: Step, input_size: int) -> None:
    """Serves on a free port of this machine until the process is killed."""

    async def describe(request: models_pb2.DescribeModelRequest, _context: object) -> models_pb2.DescribeModelResponse:
        info = models_pb2.ModelInfo(name=request.model, input_features=[input_size])
        return models_pb2.DescribeModelResponse(model=info)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_step_handler(step), _describe_handler(describe)))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"{name} on 127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


def _step_handler(step: Any) -> grpc.GenericRpcHandler:
    handler = grpc.stream_stream_rpc_method_handler(
        step, inference_pb2.StepRequest.FromString, inference_pb2.StepResponse.SerializeToString
    )
    return grpc.method_handlers_generic_handler("elman.v1.Inference", {"Step": handler})


def _describe_handler(describe: Any) -> grpc.GenericRpcHandler:
    handler = grpc.unary_unary_rpc_method_handler(
        describe, models_pb2.DescribeModelRequest.FromString, models_pb2.DescribeModelResponse.SerializeToString
    )
    return grpc.method_handlers_generic_handler("elman.v1.Models", {"DescribeModel": handler})
