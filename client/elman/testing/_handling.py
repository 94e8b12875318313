"""Runs a handler for a call: credentials before, refusals after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NoReturn, TypeVar

import grpc
from google.rpc import status_pb2

from elman.testing._refusal import Refusal
from elman.testing._server_state import ServerState

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


def answer(
    server_state: ServerState, context: grpc.ServicerContext, handle: Callable[[RequestT], ResponseT], request: RequestT
) -> ResponseT:
    """Runs a unary handler under the lock; its refusal becomes a rich status."""
    authenticate(server_state, context)
    try:
        with server_state.lock:
            server_state.check_loaded()
            return handle(request)
    except Refusal as refusal:
        abort(context, refusal.status)


def abort(context: grpc.ServicerContext, status: status_pb2.Status) -> NoReturn:
    """Ends the call with a rich status."""
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(_CODES[status.code], status.message)


def authenticate(server_state: ServerState, context: grpc.ServicerContext) -> None:
    """Aborts calls without the token."""
    given = dict(context.invocation_metadata()).get("authorization")
    if server_state.token is not None and given != f"Bearer {server_state.token}":
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "a bearer token is required")
