"""Registers the contract's services, and the health check, on the fake server's world."""

from __future__ import annotations

import functools
from typing import Final

import grpc

from elman.testing._inference_service import FakeInference
from elman.testing._models_service import FakeModels
from elman.testing._sessions_service import FakeSessionsService
from elman.testing._world import World
from elman.v1 import inference_pb2_grpc, models_pb2_grpc, sessions_pb2_grpc

_HEALTH: Final = "grpc.health.v1.Health"
_SERVING: Final = b"\x08\x01"


def add_services(server: grpc.Server, world: World) -> None:
    """Registers all of them."""
    models_pb2_grpc.add_ModelsServicer_to_server(FakeModels(world), server)
    sessions_pb2_grpc.add_SessionsServicer_to_server(FakeSessionsService(world), server)
    inference_pb2_grpc.add_InferenceServicer_to_server(FakeInference(world), server)
    check: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
        functools.partial(_check_health, world)
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_HEALTH, {"Check": check}),))


def _check_health(world: World, request: bytes, context: grpc.ServicerContext) -> bytes:
    name = request[2:].decode()
    if name and name not in {known for known, _ in world.models}:
        context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {name}")
    return _SERVING
