"""Room 2, door: `elman.v1.Models`."""

from elman.v1 import models_pb2, models_pb2_grpc
from elman_server.door.door import Door, unary
from elman_server.door.elman_v1.paging import page_size
from elman_server.door.elman_v1.write import write_model
from elman_server.door.rpc.context import Context
from elman_server.errors import InvalidInput
from elman_server.exchange.versions import version_key

MAX_TOKEN_LENGTH = 1024


class ModelsService(models_pb2_grpc.ModelsServicer):
    """Lists, describes, loads and unloads models."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._catalogue = door.catalogue

    @unary
    async def ListModels(  # noqa: N802
        self, request: models_pb2.ListModelsRequest, context: Context
    ) -> models_pb2.ListModelsResponse:
        """See the contract."""
        count = page_size(request.page_size)
        runtimes = self._catalogue.runtimes()
        if request.page_token:
            first = _read_token(request.page_token)  # of a model that may have been unloaded since
            runtimes = [r for r in runtimes if (r.spec.name, version_key(r.spec.version)) >= first]
        rest = [f"{r.spec.name}/{r.spec.version}" for r in runtimes[count : count + 1]]
        return models_pb2.ListModelsResponse(
            models=[write_model(r) for r in runtimes[:count]], next_page_token=rest[0] if rest else ""
        )

    @unary
    async def DescribeModel(  # noqa: N802
        self, request: models_pb2.DescribeModelRequest, context: Context
    ) -> models_pb2.DescribeModelResponse:
        """See the contract."""
        runtime = self._catalogue.directory(request.model).version(request.version)
        return models_pb2.DescribeModelResponse(model=write_model(runtime))

    @unary
    async def LoadModel(  # noqa: N802
        self, request: models_pb2.LoadModelRequest, context: Context
    ) -> models_pb2.LoadModelResponse:
        """See the contract."""
        self._door.check_open()
        loaded = await self._door.load(request.model, request.version)
        moved = stayed = 0
        if request.adopt_sessions:
            target = self._catalogue.directory(request.model).version(request.version)
            moved, stayed = await self._door.models.adopt(target)
        return models_pb2.LoadModelResponse(models=[write_model(r) for r in loaded], adopted=moved, left=stayed)

    @unary
    async def UnloadModel(  # noqa: N802
        self, request: models_pb2.UnloadModelRequest, context: Context
    ) -> models_pb2.UnloadModelResponse:
        """See the contract."""
        directory = self._catalogue.directory(request.model)
        runtimes = [directory.version(request.version)] if request.version else list(directory.versions.values())
        infos = [write_model(runtime) for runtime in runtimes]
        await self._door.unload(runtimes)
        return models_pb2.UnloadModelResponse(models=infos)


def _read_token(token: str) -> tuple[str, tuple[tuple[int, int, str], ...]]:
    # A place in the order of models, whether or not there is one at it.
    name, slash, version = token.partition("/")
    if not (name and slash and version and token.isascii() and len(token) <= MAX_TOKEN_LENGTH):
        raise InvalidInput(f"page_token: {token[:64]!r} is not one that this server gave")
    return name, version_key(version)
