"""Registers the contract's services, and the health check, on the fake server's state."""

from __future__ import annotations

import functools
from typing import Final

import grpc

from elman.testing._inference_service import FakeInference
from elman.testing._models_service import FakeModels
from elman.testing._server_state import ServerState
from elman.testing._sessions_service import FakeSessionsService
from elman.v1 import inference_pb2_grpc, models_pb2_grpc, sessions_pb2_grpc

_HEALTH: Final = "grpc.health.v1.Health"
_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"


def add_services(server: grpc.Server, server_state: ServerState) -> None:
    """Registers all of them."""
    models_pb2_grpc.add_ModelsServicer_to_server(FakeModels(server_state), server)
    sessions_pb2_grpc.add_SessionsServicer_to_server(FakeSessionsService(server_state), server)
    inference_pb2_grpc.add_InferenceServicer_to_server(FakeInference(server_state), server)
    check: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(
        functools.partial(_check_health, server_state)
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_HEALTH, {"Check": check}),))


def _check_health(server_state: ServerState, request: bytes, context: grpc.ServicerContext) -> bytes:
    if server_state.faults.loading_retry_seconds is not None:
        return _NOT_SERVING
    name = request[2:].decode()
    if name and name not in {known for known, _ in server_state.models}:
        context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {name}")
    return _SERVING
