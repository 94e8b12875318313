"""Targets: the models that requests name, looked up once and kept for as long as they stay."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from elman_server.door.oip.signature import Signature
from elman_server.exchange.port import EnginePort
from elman_server.exchange.served import ModelVersion, ModelVersions, ServedModel, ServedModels
from elman_server.telemetry.metrics import Duration


@dataclass(slots=True)
class Requests:
    """Requests of this surface to one model version, from arrival to answer. Counted on the engine's thread."""

    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)

    def count(self, seconds: float, *, failed: bool, times: int = 1) -> None:
        """One more, or some that took as long."""
        (self.fail if failed else self.success).add(seconds, times)


@dataclass(slots=True, eq=False)
class Target:
    """One model version with what this surface knows of it."""

    directory: ModelVersions
    worker: ServedModel
    signature: Signature
    requests: Requests
    versions: Mapping[str, ModelVersion]
    """The model's when this was looked up: it is out of date once they change."""
    max_steps: int | None
    """Of one request; None: any."""
    of: Callable[[ModelVersion], "Target"]
    """The target of another version: `Targets.of`."""

    @property
    def is_outdated(self) -> bool:
        """Whether the model's versions have changed since."""
        return self.directory.versions is not self.versions

    @property
    def runtime(self) -> ModelVersion:
        """The version."""
        return self.worker.runtime


class Targets:
    """By name and version as asked for. From any thread: each change is one operation on a dict."""

    def __init__(self, engine: EnginePort, catalogue: ServedModels) -> None:
        self.catalogue = catalogue
        self._engine = engine
        self._targets: dict[tuple[str, str], Target] = {}
        self._requests: dict[ModelVersion, Requests] = {}

    def find(self, name: str, version: str) -> Target:
        """The model of that name and version; an empty version means the highest.

        Raises:
            UnknownModel: it is not loaded.
        """
        target = self._targets.get((name, version))
        if target is None or target.is_outdated:
            self._targets.pop((name, version), None)
            target = self._targets[(name, version)] = self._look_up(name, version)
        return target

    def of(self, runtime: ModelVersion) -> Target:
        """The target of a loaded version.

        Raises:
            UnknownModel: it was unloaded.
        """
        return self.find(runtime.spec.name, runtime.spec.version)

    def forget_unloaded(self) -> None:
        """Lets go of models that are not loaded any more, and so of their weights."""
        for key, target in list(self._targets.items()):
            if target.is_outdated:
                self._targets.pop(key, None)
        for gone in set(self._requests) - set(self.catalogue.runtimes()):
            self._requests.pop(gone, None)

    def _look_up(self, name: str, version: str) -> Target:
        directory = self.catalogue.directory(name)
        versions = directory.versions
        runtime = directory.version(version)
        requests = self._requests.setdefault(runtime, Requests())
        signature = Signature.of(runtime.view)
        max_steps = self.catalogue.limits.max_infer_steps if runtime.view.needs_whole_sequences else None
        worker = self._engine.worker_of(runtime)
        return Target(directory, worker, signature, requests, versions, max_steps, self.of)
