"""Requests of the protocol, made by hand, and what their answers say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
from served import Served

from elman_server.door.oip.stubs import grpc_service_pb2 as pb
from elman_server.door.oip.stubs.grpc_service_pb2_grpc import GRPCInferenceServiceStub

DATATYPES = {"float32": "FP32", "int64": "INT64", "float16": "FP16"}
ANSWER_SECONDS = 120


def request(
    model: str,
    x: Any = None,
    *,
    id: str = "",
    outputs: tuple[str, ...] = ("output",),
    **parameters: Any,
) -> Any:
    """A request with one raw input [T, B, ...]; a row [T, features] becomes [T, 1, features]."""
    made = pb.ModelInferRequest(model_name=model, id=id)
    if x is not None:
        x = x[:, None] if x.ndim == 2 and x.dtype == np.float32 else x
        made.inputs.add(name="input", datatype=DATATYPES[x.dtype.name], shape=x.shape)
        made.raw_input_contents.append(x.tobytes())
    for name in outputs:
        made.outputs.add(name=name)
    for name, value in parameters.items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
        setattr(made.parameters[name.removesuffix("_")], kind, value)
    return made


def tensor(response: Any, name: str = "output") -> Any:
    """An output of a ModelInferResponse."""
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        if output.name == name:
            return np.frombuffer(raw, np.float32).reshape(tuple(output.shape))
    raise KeyError(name)


def stub_of(served: Served) -> Any:
    """The surface of a server in this process."""
    return GRPCInferenceServiceStub(served.channel)


async def refused(call: Any) -> tuple[str, str]:
    """Code and message of a call that must fail."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    raise AssertionError(f"answered {answer}")


class Stream:
    """A ModelStreamInfer stream."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def send(self, *requests: Any) -> None:
        for one in requests:
            await self.call.write(one)

    async def read(self) -> Any:
        return await asyncio.wait_for(self.call.read(), ANSWER_SECONDS)

    async def answer(self) -> Any:
        """The next answer, which is no error."""
        read = await self.read()
        assert read is not grpc.aio.EOF
        assert not read.error_message, read.error_message
        return read.infer_response

    async def error(self) -> tuple[str, str]:
        """Id and message of the next answer, which is one."""
        read = await self.read()
        assert read.error_message
        return read.infer_response.id, read.error_message


@asynccontextmanager
async def stream_of(served: Served, **metadata: str) -> AsyncIterator[Stream]:
    """A stream, ended in peace."""
    call = stub_of(served).ModelStreamInfer(metadata=tuple(metadata.items()))
    yield Stream(call)
    await call.done_writing()
    assert await asyncio.wait_for(call.read(), ANSWER_SECONDS) is grpc.aio.EOF
