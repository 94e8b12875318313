"""The contract's services on the fake server's world."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import grpc
import numpy as np
from grpc_status import rpc_status

from elman._packed import enumerate_packed, pack, unpack
from elman.testing._refusal import Refusal
from elman.testing._sessions import REPLAY_CHUNKS, FakeSession
from elman.testing._step import step_stream
from elman.testing._world import World
from elman.v1 import (
    inference_pb2,
    inference_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    sessions_pb2,
    sessions_pb2_grpc,
    tensor_pb2,
)
from elman.wire import from_tensor, to_tensor

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
Opened = sessions_pb2.OpenSessionsResponse | sessions_pb2.AttachSessionsResponse
_HEALTH = "grpc.health.v1.Health"


def add_services(server: grpc.Server, world: World) -> None:
    """Registers all services."""
    models_pb2_grpc.add_ModelsServicer_to_server(FakeModels(world), server)
    sessions_pb2_grpc.add_SessionsServicer_to_server(FakeSessionsService(world), server)
    inference_pb2_grpc.add_InferenceServicer_to_server(FakeInference(world), server)
    check = grpc.unary_unary_rpc_method_handler(functools.partial(_check_health, world))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_HEALTH, {"Check": check}),))


def _check_health(world: World, request: bytes, context: grpc.ServicerContext) -> bytes:
    name = request[2:].decode()
    if name and name not in {known for known, _ in world.models}:
        context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {name}")
    return b"\x08\x01"


class _Service:
    def __init__(self, world: World) -> None:
        self._world = world

    def _answer(
        self, context: grpc.ServicerContext, handle: Callable[[RequestT], ResponseT], request: RequestT
    ) -> ResponseT:
        """Runs a handler under the lock; its refusal becomes a rich status."""
        authenticate(self._world, context)
        try:
            with self._world.lock:
                return handle(request)
        except Refusal as refusal:
            context.abort_with_status(rpc_status.to_status(refusal.status))


def authenticate(world: World, context: grpc.ServicerContext) -> None:
    """Aborts calls without the token."""
    given = dict(context.invocation_metadata()).get("authorization")
    if world.token is not None and given != f"Bearer {world.token}":
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "a bearer token is required")
