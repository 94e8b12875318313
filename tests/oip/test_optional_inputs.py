"""h_0 and c_0 are optional: tools that send whatever they see listed see them only where a setting says so."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from server_process import server_process

from elman_server.door.oip.stubs import grpc_service_pb2 as pb
from elman_server.door.oip.stubs.grpc_service_pb2_grpc import GRPCInferenceServiceStub


@pytest.mark.parametrize(("setting", "names"), [("false", ["input"]), ("true", ["input", "h_0", "c_0"])])
def test_metadata_and_configuration_list_the_same_inputs(setting: str, names: list[str], folder: Path) -> None:
    options = ("--warm-up-seconds", "0", "--oip-optional-inputs", setting)
    with server_process(folder, *options) as address, grpc.insecure_channel(address) as channel:
        stub: Any = GRPCInferenceServiceStub(channel)
        metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="lstm"))
        config = stub.ModelConfig(pb.ModelConfigRequest(name="lstm")).config
    assert [tensor.name for tensor in metadata.inputs] == names
    assert [tensor.name for tensor in config.input] == names
    assert [tensor.name for tensor in config.input if tensor.optional] == names[1:]
