"""Room 2, door: `inference.GRPCInferenceService`, the Open Inference Protocol over the same rooms as `elman.v1`."""

import asyncio
from functools import partial
from importlib.metadata import version

from elman_server.door.caller_limits import Caller
from elman_server.door.door import Door
from elman_server.door.oip.inference import Call, Inference, Part
from elman_server.door.oip.parameters import read_parameters
from elman_server.door.oip.read import Reader
from elman_server.door.oip.single_steps import StepAnswers
from elman_server.door.oip.status import code_of, message_of
from elman_server.door.oip.stream import END_ON_ERROR, InferStream
from elman_server.door.oip.stubs import grpc_service_pb2 as pb
from elman_server.door.oip.targets import Targets
from elman_server.door.oip.tools.model_config import write_config, write_metadata
from elman_server.door.oip.tools.repository import Repository, model_named
from elman_server.door.oip.tools.statistics import write_statistics
from elman_server.door.oip.unary import UnsupportedCalls, unary
from elman_server.door.oip.write import write_response
from elman_server.door.rpc.call import StreamCall, StreamPort
from elman_server.door.rpc.context import Context
from elman_server.door.streams import Streams
from elman_server.errors import EngineFailed, InvalidInput, LimitReached, ServiceError, UnknownModel
from elman_server.exchange.answers import refusal
from elman_server.exchange.frames import FramePart
from elman_server.exchange.sequences import SequencePort

EXTENSIONS = (
    "sequence",
    "model_repository",
    "model_repository(unload_dependents)",
    "model_configuration",
    "parameters",
    "statistics",
)

MAX_COUNTING_SECONDS = 1.0
"""Statistics wait no longer for what is being counted."""


class OpenInferenceService(UnsupportedCalls):
    """Its calls mean what they mean on Triton, but where docs/open-inference-protocol.md says otherwise."""

    def __init__(
        self, door: Door, port: StreamPort, sequences: SequencePort, *, strict_order: bool, optional_inputs: bool
    ) -> None:
        super().__init__(door)
        self._targets = Targets(door.engine, door.catalogue)
        self._reader = Reader(self._targets, door.engine.clock)
        self._sequences = sequences
        self._answers = StepAnswers(door)
        self._repository = Repository(door)
        self._strict_order = strict_order
        self._optional_inputs = optional_inputs
        self._port = port
        self._streams: Streams[InferStream] = Streams(port, door.engine.loop_calls, door.callers)
        door.engine.do_now_and_then(lambda _: self._forget_unloaded())

    def _forget_unloaded(self) -> None:
        self._targets.forget_unloaded()
        self._reader.forms.forget_outdated()

    @unary
    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:  # noqa: N802
        """Whether the process answers."""
        return pb.ServerLiveResponse(live=self._door.engine.failure is None)

    @unary
    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:  # noqa: N802
        """Whether it takes requests."""
        return pb.ServerReadyResponse(ready=self._door.is_ready)

    @unary
    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:  # noqa: N802
        """Whether a model takes requests."""
        try:
            target = self._targets.find(request.name, request.version)
        except UnknownModel:
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=self._door.is_ready and not target.runtime.unloading)

    @unary
    async def ServerMetadata(  # noqa: N802
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        """What the server is."""
        return pb.ServerMetadataResponse(name="elman", version=version("elman-server"), extensions=EXTENSIONS)

    @unary
    async def ModelMetadata(  # noqa: N802
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        """What a model takes and gives."""
        target = self._targets.find(request.name, request.version)
        return write_metadata(request.name, target.versions, target.signature, optional_inputs=self._optional_inputs)

    @unary
    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:  # noqa: N802
        """A model's configuration."""
        target = self._targets.find(request.name, request.version)
        return pb.ModelConfigResponse(config=write_config(target, optional_inputs=self._optional_inputs))

    @unary
    async def ModelStatistics(  # noqa: N802
        self, request: pb.ModelStatisticsRequest, context: Context
    ) -> pb.ModelStatisticsResponse:
        """Counts and durations of one version, all versions of a model, or all models."""
        if request.version or not request.name:
            known = self._targets.catalogue.runtimes()
            found = [self._targets.find(request.name, request.version).runtime] if request.name else known
        else:
            found = list(self._targets.catalogue.directory(request.name).versions.values())
        await self._counted()
        stats = [write_statistics(runtime, self._targets.of(runtime).requests) for runtime in found]
        return pb.ModelStatisticsResponse(model_stats=stats)

    async def _counted(self) -> None:
        # A batch is counted after its answers are sent; the engine may have one in hand.
        counted = self._door.engine.call(lambda: None)
        await asyncio.wait({counted}, timeout=MAX_COUNTING_SECONDS)

    @unary
    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:  # noqa: N802
        """One request, one answer."""
        self._door.check_open()
        now = self._door.engine.clock.now()
        parameters = read_parameters(request.parameters)
        if parameters.decoupled:
            raise InvalidInput("'decoupled': ModelInfer has one answer; use ModelStreamInfer")
        engine = self._door.engine
        answered: asyncio.Future[Part] = engine.expect()
        call = Call(answered, engine.loop_calls, lambda part: self._count(inference, now, part))
        inference = call.inference = self._reader.read(request, parameters, call, now=now)
        remaining = context.time_remaining()
        if remaining is not None:
            inference.frame.deadline = min(inference.frame.deadline, now + remaining)
        self._port.post(partial(self._submit, context.peer(), inference, call))
        try:
            part = await answered
        except asyncio.CancelledError:
            inference.cancelled = True
            engine.cancel([FramePart(inference.frame)])
            raise
        if part.error is not None:
            raise part.error
        return write_response(inference, part)

    def _submit(self, peer: str, inference: Inference, call: Call) -> None:
        # On the engine's thread.
        frame = inference.frame
        try:
            call.charge = self._door.callers.charge(peer, frame.num_rows, frame.num_bytes)
        except LimitReached as error:
            call.on_result(frame, refusal(error))
            return
        self._sequences.submit(inference)

    def _count(self, inference: Inference, began: float, part: Part) -> None:
        inference.target.requests.count(self._door.engine.clock.now() - began, failed=part.error is not None)

    async def ModelStreamInfer(  # type: ignore[override]  # noqa: N802
        self, _requests: object, context: Context
    ) -> None:
        """Requests of any number of sequences in flight together."""
        ends_on_error = dict(context.invocation_metadata()).get(END_ON_ERROR) == "true"
        try:
            self._door.check_open()
            with self._door.counting_bugs("ModelStreamInfer"):
                await self._streams.serve(context.call, partial(self._stream, ends_on_error))
        except ServiceError as error:
            await context.abort(code_of(error), message_of(error))

    def _stream(self, ends_on_error: bool, call: StreamCall, caller: Caller) -> InferStream:
        return InferStream(
            call,
            self._door,
            self._reader,
            self._sequences,
            self._answers,
            caller,
            strict_order=self._strict_order,
            ends_on_error=ends_on_error,
        )

    def end_streams(self) -> None:
        """Has each stream refuse new requests and end once everything admitted is answered. On the engine's thread."""
        self._streams.end()

    def fail_streams(self, error: EngineFailed) -> None:
        """Has each stream end what is open with that error. On the engine's thread."""
        self._streams.fail(error)

    @unary
    async def RepositoryIndex(  # noqa: N802
        self, request: pb.RepositoryIndexRequest, context: Context
    ) -> pb.RepositoryIndexResponse:
        """The bundles of the model folder."""
        return pb.RepositoryIndexResponse(models=await self._repository.index(ready_only=request.ready))

    @unary
    async def RepositoryModelLoad(  # noqa: N802
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        """Loads a model's bundles."""
        name = model_named(request.repository_name, request.model_name, request.parameters)
        await self._repository.load(name)
        return pb.RepositoryModelLoadResponse(model_name=name, isLoaded=True)

    @unary
    async def RepositoryModelUnload(  # noqa: N802
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        """Unloads a model."""
        name = model_named(request.repository_name, request.model_name, request.parameters)
        await self._repository.unload(name)
        return pb.RepositoryModelUnloadResponse(model_name=name, isUnloaded=True)
