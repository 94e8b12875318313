"""How a handler serves a call: the four kinds of RPC, and what becomes of its exceptions."""

import asyncio
import inspect
import logging
from contextlib import aclosing
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from elman_server.door.rpc.call import Call
from elman_server.door.rpc.context import CallerGoneError, Context

log = logging.getLogger(__name__)

OK = grpc.StatusCode.OK


async def handle(handler: Any, call: Call) -> None:
    """Serves a call to its end; cancelled if the call is. `handler`: grpc.RpcMethodHandler, of coroutines."""
    try:
        await _serve(handler, call)
    except grpc.aio.AbortError:
        pass  # it has its status
    except DecodeError as error:
        call.finish(grpc.StatusCode.INTERNAL, f"a message that does not parse: {error}")
    except CallerGoneError:
        call.finish(grpc.StatusCode.CANCELLED)  # whom nobody hears
    except asyncio.CancelledError:
        call.finish(grpc.StatusCode.CANCELLED)  # by the server; else it is over
        raise
    except Exception as error:
        if not call.is_over:
            log.exception("%s failed", call.method)
        call.finish(grpc.StatusCode.UNKNOWN, f"{call.method} failed inside the server: {type(error).__name__}")


async def _serve(handler: Any, call: Call) -> None:
    context = Context(call, handler)
    request = context.requests() if handler.request_streaming else await context.read()
    if request is grpc.aio.EOF:
        call.finish(grpc.StatusCode.INTERNAL, "expected one message, got none")
        return
    method = _method(handler)
    if inspect.isasyncgenfunction(method):
        async with aclosing(method(request, context)) as responses:
            async for response in responses:
                await context.write(response)
        call.finish(OK)
        return
    response = await method(request, context)
    call.finish(OK, message=None if handler.response_streaming else handler.response_serializer(response))


def _method(handler: Any) -> Any:
    kinds = {
        (False, False): handler.unary_unary,
        (False, True): handler.unary_stream,
        (True, False): handler.stream_unary,
        (True, True): handler.stream_stream,
    }
    return kinds[handler.request_streaming, handler.response_streaming]
