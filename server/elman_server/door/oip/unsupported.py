"""The calls of the protocol's extensions that are not there: each says so."""

from typing import Any

from google.protobuf.message import Message

from elman_server.door.context import Context
from elman_server.door.door import Door
from elman_server.door.oip.status import Unsupported
from elman_server.door.oip.stubs.grpc_service_pb2_grpc import GRPCInferenceServiceServicer
from elman_server.door.oip.unary import unary


def _refused(name: str, what: str) -> Any:
    async def refuse(self: "UnsupportedCalls", request: Message, context: Context) -> Message:
        raise Unsupported(f"{name}: {what} is not supported by this server")

    refuse.__name__ = name
    return unary(refuse)


class UnsupportedCalls(GRPCInferenceServiceServicer):
    """Answers UNIMPLEMENTED, with what is missing."""

    def __init__(self, door: Door) -> None:
        self._door = door

    SystemSharedMemoryStatus = _refused("SystemSharedMemoryStatus", "shared memory")
    SystemSharedMemoryRegister = _refused("SystemSharedMemoryRegister", "shared memory")
    SystemSharedMemoryUnregister = _refused("SystemSharedMemoryUnregister", "shared memory")
    CudaSharedMemoryStatus = _refused("CudaSharedMemoryStatus", "shared memory")
    CudaSharedMemoryRegister = _refused("CudaSharedMemoryRegister", "shared memory")
    CudaSharedMemoryUnregister = _refused("CudaSharedMemoryUnregister", "shared memory")
    TraceSetting = _refused("TraceSetting", "tracing")
    LogSettings = _refused("LogSettings", "changing log settings")
