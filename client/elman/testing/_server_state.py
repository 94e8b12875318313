"""What the fake server's services share."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass

import grpc

from elman.testing._faults import Faults
from elman.testing._model import FakeModel
from elman.testing._refusal import Refusal
from elman.testing._sessions import FakeSessions


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

    def load(self, name: str, version: str) -> None:
        """Brings back what was unloaded, all versions unless one is named."""
        for key in [key for key in self.unloaded if key[0] == name and version in ("", key[1])]:
            self.models[key] = self.unloaded.pop(key)

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

    def model(self, name: str, version: str) -> FakeModel:
        """A model; without a version the highest by name."""
        versions = sorted(known for known_name, known in self.models if known_name == name)
        if not versions or (version and version not in versions):
            names = ", ".join(sorted({known_name for known_name, _ in self.models}))
            raise Refusal("UNKNOWN_MODEL", f"no model {name!r} {version}; there are {names}", model=name)
        return self.models[name, version or versions[-1]]
