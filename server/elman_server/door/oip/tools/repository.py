"""The model folder: its bundles, loaded or not."""

import asyncio
from collections.abc import Mapping

from elman_models.bundle import find_bundles, read_any_spec
from elman_models.errors import BundleError
from elman_server.door.door import Door
from elman_server.door.oip.status import Unsupported
from elman_server.door.oip.stubs import grpc_service_pb2 as pb
from elman_server.errors import BrokenBundle, InvalidInput

READY, UNAVAILABLE = "READY", "UNAVAILABLE"


class Repository:
    """What the repository calls of the surface do."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._catalogue = door.catalogue

    async def index(self, *, ready_only: bool) -> list[pb.RepositoryIndexResponse.ModelIndex]:
        """Every bundle of the folder, by name and version.

        Raises:
            BrokenBundle: the folder cannot be read.
        """
        states = {} if ready_only else await asyncio.to_thread(self._bundles)
        for runtime in self._catalogue.runtimes():
            state = (UNAVAILABLE, "unloading") if runtime.unloading else (READY, "")
            states[runtime.spec.name, runtime.spec.version] = state
        return [
            pb.RepositoryIndexResponse.ModelIndex(name=name, version=version, state=state, reason=reason)
            for (name, version), (state, reason) in sorted(states.items())
            if state == READY or not ready_only
        ]

    async def load(self, name: str) -> None:
        """Loads every version of a model that the folder has.

        Raises:
            UnknownModel, BrokenBundle, ModelChanged: there is none, it cannot be loaded, or is loaded from other files.
        """
        self._door.check_open()
        await self._door.load(name, "")

    async def unload(self, name: str) -> None:
        """Unloads every version of a model; steps already admitted are answered.

        Raises:
            UnknownModel: it is not loaded.
        """
        await self._door.unload(list(self._catalogue.directory(name).versions.values()))

    def _bundles(self) -> dict[tuple[str, str], tuple[str, str]]:
        states = {}
        try:
            for path in find_bundles(self._catalogue.folder):
                try:
                    spec = read_any_spec(path)
                except BundleError as error:
                    states[path.name, ""] = (UNAVAILABLE, str(error))
                else:
                    twice = (spec.name, spec.version) in states
                    reason = f"several folders bear it, {path.name} is one" if twice else "unloaded"
                    reason = self._catalogue.failures.get(path, reason)
                    states[spec.name, spec.version] = (UNAVAILABLE, reason)
        except BundleError as error:
            raise BrokenBundle(str(error)) from error
        return states


def model_named(repository: str, model: str, parameters: Mapping[str, object]) -> str:
    """The model that a load or unload is about: KServe's messages have its name where Triton's have the repository's.

    Raises:
        InvalidInput: none is named.
        Unsupported: a repository is named too, or a parameter that is not there.
    """
    unknown = set(parameters) - {"unload_dependents"}
    if unknown:
        raise Unsupported(f"'{min(unknown)}' is not supported: a bundle says itself what it is")
    if repository and model:
        raise Unsupported("'repository_name' specification is not supported: there is one model folder")
    if not repository and not model:
        raise InvalidInput("model_name: expected the name of a model, got none")
    return model or repository
