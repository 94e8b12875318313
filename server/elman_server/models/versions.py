"""A model's loaded versions: by number, the highest, and the one that an exported session is of."""

from elman_server.errors import OtherState, UnknownModel
from elman_server.exchange.session_calls.exported import Exported
from elman_server.exchange.versions import version_key
from elman_server.models.runtime import Runtime


class ModelVersions:
    """Read on any thread: `versions` is replaced whole."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.versions: dict[str, Runtime] = {}

    def version(self, version: str) -> Runtime:
        """That version; if it is empty the highest one, of those that stay if any does.

        Raises:
            UnknownModel: no such version is loaded.
        """
        versions = self.versions
        if not version and versions:
            staying = {v: runtime for v, runtime in versions.items() if not runtime.unloading} or versions
            return staying[max(staying, key=version_key)]
        if version not in versions:
            known = ", ".join(sorted(versions, key=version_key)) or "none"
            raise UnknownModel(
                f"model {self.name!r} has no version {version!r} loaded; loaded: {known}",
                metadata={"model": self.name, "version": version},
            )
        return versions[version]

    def of_fingerprint(self, exported: Exported) -> Runtime:
        """The version that has an exported session's fingerprint.

        Raises:
            OtherState: none has.
        """
        for runtime in sorted(self.versions.values(), key=lambda r: r.spec.version != exported.version):
            if runtime.stack.fingerprint == exported.fingerprint:
                return runtime
        there = ", ".join(f"{v} ({r.stack.fingerprint[:12]})" for v, r in sorted(self.versions.items()))
        raise OtherState(
            f"the session was exported from model {exported.model!r} version {exported.version!r} "
            f"({exported.fingerprint[:12]}); loaded of model {self.name!r}: {there}",
            metadata={"model": self.name},
        )
