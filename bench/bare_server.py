"""A bare server: `Step` by a handler of one's own and `DescribeModel`, and nothing else of the contract."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from elman.v1 import inference_pb2, models_pb2
from elman_server.door.choice import choose, make_transport
from elman_server.door.rpc.server import RpcServer

FREE_PORT = "127.0.0.1:0"

Step = Callable[[object, Any], Awaitable[None]]
"""Of the requests, which the context reads too, and the context."""


async def serve_bare(name: str, step: Step, input_size: int) -> None:
    """Serves by `grpc.aio` on a free port of this machine until the process is killed."""
    server = grpc.aio.server()
    for service, handlers in _handlers(step, input_size).items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port(FREE_PORT)
    await server.start()
    _say(name, port)
    await server.wait_for_termination()


async def serve_bare_on_door(name: str, step: Step, input_size: int) -> None:
    """As `serve_bare`, by the door that elman's server has here."""
    server = RpcServer(make_transport(choose("auto"), ()))
    for service, handlers in _handlers(step, input_size).items():
        server.add_registered_method_handlers(service, handlers)
    port = server.add_insecure_port(FREE_PORT)
    await server.start()
    _say(name, port)
    await asyncio.Event().wait()


def _say(name: str, port: int) -> None:
    print(f"{name} on 127.0.0.1:{port}", flush=True)


def _handlers(step: Any, input_size: int) -> dict[str, dict[str, Any]]:
    async def describe(request: models_pb2.DescribeModelRequest, _context: object) -> models_pb2.DescribeModelResponse:
        info = models_pb2.ModelInfo(name=request.model, input_features=[input_size])
        return models_pb2.DescribeModelResponse(model=info)

    stepping = grpc.stream_stream_rpc_method_handler(
        step, inference_pb2.StepRequest.FromString, inference_pb2.StepResponse.SerializeToString
    )
    describing = grpc.unary_unary_rpc_method_handler(
        describe,
        models_pb2.DescribeModelRequest.FromString,
        models_pb2.DescribeModelResponse.SerializeToString,
    )
    return {"elman.v1.Inference": {"Step": stepping}, "elman.v1.Models": {"DescribeModel": describing}}
