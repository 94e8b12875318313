"""What the fake server's services share."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass

import grpc

from elman.testing._exported import fingerprint
from elman.testing._faults import Faults
from elman.testing._model import FakeModel
from elman.testing._refusal import Refusal
from elman.testing._sessions import FakeSessions
from elman.v1 import sessions_pb2


@dataclass(frozen=True)
class Limits:
    """Settings of the server."""

    max_infer_rows: int = 1024
    max_frame_bytes: int = 16 << 20


DEFAULT_LIMITS = Limits()


class ServerState:
    """Models, sessions and faults; whoever touches them holds `lock`."""

    def __init__(
        self, models: dict[tuple[str, str], FakeModel], token: str | None, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self.models = models
        self.limits = limits
        self.unloaded: dict[tuple[str, str], FakeModel] = {}
        self.overwritten: dict[tuple[str, str], FakeModel] = {}  # on disk, where it is not what was loaded
        self.token = token
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.running = threading.Event()
        self.running.set()
        self.faults = Faults()
        self.streams: set[grpc.ServicerContext] = set()
        self.num_streams = 0
        self.frame_rows: list[int] = []
        self.instance = ""
        self.sessions = FakeSessions()
        self.reset(keep_sessions=False)

    def reset(self, keep_sessions: bool) -> None:
        """Becomes another process."""
        self.instance = uuid.uuid4().hex
        if not keep_sessions:
            self.sessions = FakeSessions()
        self.sessions.detach_all()

    def check_loaded(self) -> None:
        """Raises Refusal while the server loads its first models."""
        if self.faults.loading_retry_seconds is not None:
            text = "the server has begun and loads its models; try again"
            raise Refusal("LOADING", text, self.faults.loading_retry_seconds)

    def check_instance(self, instance: str) -> None:
        """Raises Refusal if another server process is meant."""
        if instance not in ("", self.instance):
            text = f"the request is for server instance {instance!r}, this is {self.instance!r}; attach again"
            raise Refusal("RE_ATTACH", text, server_instance=self.instance)

    def load(self, name: str, version: str) -> list[FakeModel]:
        """Loads what is not loaded, all versions unless one is named; all of them. Raises Refusal."""
        there = [key for key in {**self.unloaded, **self.overwritten} if key[0] == name and version in ("", key[1])]
        for key in there:
            if key in self.models:
                raise Refusal(
                    "MODEL_CHANGED",
                    f"model {name!r} version {key[1]!r} is loaded, and its bundle was changed since: unload it first, "
                    "which ends its sessions, or give what is new a version of its own",
                    model=name,
                    version=key[1],
                )
        for key in there:
            on_disk = self.unloaded | self.overwritten
            self.models[key] = on_disk[key]
            self.unloaded.pop(key, None)
            self.overwritten.pop(key, None)
        self.model(name, version)
        return [self.models[key] for key in sorted(self.models) if key[0] == name and version in ("", key[1])]

    def unload(self, model: FakeModel) -> None:
        """Ends the model's sessions, and no longer serves it."""
        key = (model.name, model.version)
        self.unloaded[key] = self.models.pop(key)
        self.sessions.drain(model)

    def check_size(self, num_bytes: int) -> None:
        """Raises Refusal for a message that is too large."""
        limit = self.limits.max_frame_bytes
        if num_bytes > limit:
            text = f"max_frame_bytes is {limit}, and the message has {num_bytes}"
            raise Refusal("LIMIT_REACHED", text, limit="max_frame_bytes", value=limit)

    def of_fingerprint(self, name: str, exported: sessions_pb2.ExportedSession) -> FakeModel:
        """The model that an exported session is of. Raises Refusal."""
        versions = [model for (known, _), model in sorted(self.models.items()) if known == name]
        for model in versions:
            if fingerprint(model) == exported.fingerprint:
                return model
        there = ", ".join(f"{model.version} ({fingerprint(model)[:12]})" for model in versions)
        raise Refusal(
            "OTHER_STATE",
            f"the session was exported from model {exported.model!r} version {exported.version!r} "
            f"({exported.fingerprint[:12]}); loaded of model {name!r}: {there}",
            model=name,
        )

    def model(self, name: str, version: str) -> FakeModel:
        """A model; without a version the highest by name."""
        versions = sorted(known for known_name, known in self.models if known_name == name)
        if not versions:
            names = ", ".join(sorted({known_name for known_name, _ in self.models})) or "none"
            raise Refusal("UNKNOWN_MODEL", f"unknown model {name!r}; loaded: {names}", model=name)
        if version and version not in versions:
            text = f"model {name!r} has no version {version!r} loaded; loaded: {', '.join(versions)}"
            raise Refusal("UNKNOWN_MODEL", text, model=name, version=version)
        return self.models[name, version or versions[-1]]
