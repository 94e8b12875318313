"""A model's metadata and configuration, as Triton's tools read them."""

from collections.abc import Mapping

from elman_server.door.oip.signature import Signature, TensorSpec
from elman_server.door.oip.stubs import grpc_service_pb2 as pb
from elman_server.door.oip.targets import Target
from elman_server.exchange.served import ModelVersion
from elman_server.exchange.versions import version_key

PLATFORM = "elman"
NEVER_MICROSECONDS = (1 << 63) - 1
"""The idle time of sequences that don't expire."""

_TYPES = {"FP32": pb.TYPE_FP32, "INT64": pb.TYPE_INT64}


def write_metadata(
    name: str, versions: Mapping[str, ModelVersion], signature: Signature, *, optional_inputs: bool
) -> pb.ModelMetadataResponse:
    """What a model takes and gives; `optional_inputs`: whether h_0 and c_0 are listed, too."""
    return pb.ModelMetadataResponse(
        name=name,
        versions=sorted(versions, key=version_key),
        platform=PLATFORM,
        inputs=map(_metadata, _listed(signature, optional_inputs=optional_inputs)),
        outputs=map(_metadata, signature.outputs.values()),
    )


def write_config(target: Target, *, optional_inputs: bool) -> pb.ModelConfig:
    """A model's configuration: fixed by its bundle and the server's limits, and not to be changed from here.
    `optional_inputs` as for `write_metadata`."""
    spec = target.runtime.spec
    config = pb.ModelConfig(
        name=spec.name,
        platform=PLATFORM,
        backend=PLATFORM,
        max_batch_size=0,
        input=[_input(tensor) for tensor in _listed(target.signature, optional_inputs=optional_inputs)],
        output=[_output(tensor) for tensor in target.signature.outputs.values()],
        instance_group=[_instance(target.runtime)],
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=False),
        parameters={key: pb.ModelParameter(string_value=value) for key, value in spec.metadata.items()},
    )
    if spec.keeps_sessions:
        config.sequence_batching.CopyFrom(_sequence_batching(target.runtime))
    return config


def _listed(signature: Signature, *, optional_inputs: bool) -> list[TensorSpec]:
    # Metadata cannot say that an input is optional, and tools that build requests from it send all that it lists. They
    # look up each input of the configuration there, too: so the two list the same.
    return [tensor for tensor in signature.inputs.values() if optional_inputs or not tensor.optional]


def _sequence_batching(runtime: ModelVersion) -> pb.ModelSequenceBatching:
    idle = runtime.limits.idle_timeout_seconds
    return pb.ModelSequenceBatching(
        max_sequence_idle_microseconds=NEVER_MICROSECONDS if idle is None else int(idle * 1e6),
        oldest=pb.ModelSequenceBatching.StrategyOldest(
            max_candidate_sequences=runtime.limits.max_sessions,
            max_queue_delay_microseconds=0,
            preserve_ordering=False,
        ),
    )


def _instance(runtime: ModelVersion) -> pb.ModelInstanceGroup:
    device = runtime.device
    if device.type == "cuda":
        return pb.ModelInstanceGroup(
            name=runtime.spec.name, count=1, kind=pb.ModelInstanceGroup.KIND_GPU, gpus=[device.index or 0]
        )
    return pb.ModelInstanceGroup(name=runtime.spec.name, count=1, kind=pb.ModelInstanceGroup.KIND_CPU)


def _metadata(tensor: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)


def _input(tensor: TensorSpec) -> pb.ModelInput:
    return pb.ModelInput(
        name=tensor.name, data_type=_TYPES[tensor.datatype], dims=tensor.shape, optional=tensor.optional
    )


def _output(tensor: TensorSpec) -> pb.ModelOutput:
    return pb.ModelOutput(name=tensor.name, data_type=_TYPES[tensor.datatype], dims=tensor.shape)
