"""The fake server: the contract's services in process, and knobs for what can go wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent import futures
from types import TracebackType

import grpc

from elman.testing._faults import Faults
from elman.testing._model import FakeModel
from elman.testing._server_state import Limits, ServerState
from elman.testing._services import add_services

_HOST = "127.0.0.1"
_WAIT_SECONDS = 30.0


class FakeServer:
    """`with FakeServer(models) as address:` listens on a free loopback port until the block ends.

    What sessions generate at temperature 0, and of values, is what the server would generate; tokens are drawn with
    NumPy from the seed and their number, the same each time, but others than the server's. There are no beams, and no
    draws from distributions.
    """

    def __init__(
        self,
        models: Sequence[FakeModel] = (FakeModel(),),
        *,
        token: str | None = None,
        max_infer_rows: int = 1024,
        max_frame_bytes: int = 16 << 20,
    ) -> None:
        """`token`: the bearer token that calls must carry; the others are the server's settings of these names."""
        by_key = {(model.name, model.version): model for model in models}
        self._server_state = ServerState(by_key, token, Limits(max_infer_rows, max_frame_bytes))
        self._server: grpc.Server | None = None
        self._port = 0

    def __enter__(self) -> str:
        self._start()
        return self.address

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    @property
    def address(self) -> str:
        """ "host:port", the same over restarts."""
        return f"{_HOST}:{self._port}"

    @property
    def frame_rows(self) -> list[int]:
        """Rows of each frame that was read so far."""
        with self._server_state.lock:
            return list(self._server_state.frame_rows)

    @property
    def num_streams(self) -> int:
        """Step streams opened so far."""
        return self._server_state.num_streams

    @property
    def num_cuts(self) -> int:
        """Cuts by `cut_at_random` so far."""
        return self._server_state.faults.num_cuts

    def position(self, session_id: str, model: str | None = None) -> int:
        """Time steps that a session has consumed."""
        with self._server_state.lock:
            return self._server_state.sessions.get(self._name(model), session_id).position

    def session_ids(self, model: str | None = None) -> list[str]:
        """The open sessions."""
        with self._server_state.lock:
            return [session.id for session in self._server_state.sessions.of_model(self._name(model))]

    def cut(self, *, forget_handles: bool = False) -> None:
        """Cuts all streams now; sessions live on, and their handles too unless they are to be forgotten."""
        with self._server_state.lock:
            if forget_handles:
                self._server_state.sessions.detach_all()
            for context in list(self._server_state.streams):
                context.cancel()

    def cut_at_random(self, probability: float, times: int, seed: int = 0) -> None:
        """Cuts streams `times` times, before or after a frame, or a generated step, is applied or between results."""
        faults = self._server_state.faults
        with self._server_state.lock:
            faults.random, faults.cut_probability, faults.cuts_left = random.Random(seed), probability, times

    def refuse(self, frames: int, retry_after_seconds: float | None = 0.001) -> None:
        """Refuses the next frames, and generations, with RESOURCE_EXHAUSTED; None: without saying when to try again."""
        faults: Faults = self._server_state.faults
        with self._server_state.lock:
            faults.refusals_left, faults.refusal_retry_seconds = frames, retry_after_seconds

    def slice(self, max_slice: int) -> None:
        """Answers in slices of at most that many steps."""
        with self._server_state.lock:
            self._server_state.faults.max_slice = max_slice

    def expire(self, session_id: str, model: str | None = None) -> None:
        """Ends a session as if it had idled for too long."""
        with self._server_state.lock:
            self._server_state.sessions.expire(self._name(model), session_id)

    def steal(self, session_id: str, model: str | None = None) -> None:
        """Attaches a session as another client does."""
        with self._server_state.lock:
            self._server_state.sessions.attach(self._name(model), session_id)

    def hold(self) -> None:
        """Reads frames without running them, and generates nothing, until `release`."""
        self._server_state.running.clear()

    def release(self) -> None:
        """Runs what was held, and what comes."""
        self._server_state.running.set()

    def begin_loading(self, retry_after_seconds: float = 0.01) -> None:
        """As a server that has just begun: until `end_loading` calls are refused with LOADING, and it is not ready."""
        with self._server_state.lock:
            self._server_state.faults.loading_retry_seconds = retry_after_seconds

    def end_loading(self) -> None:
        """The models are loaded."""
        with self._server_state.lock:
            self._server_state.faults.loading_retry_seconds = None

    def overwrite(self, model: FakeModel) -> None:
        """Replaces a model's files, as `pack --overwrite`: to load it is MODEL_CHANGED until it was unloaded."""
        with self._server_state.lock:
            self._server_state.overwritten[model.name, model.version] = model

    def restart(self, *, keep_sessions: bool = False) -> None:
        """Becomes another server process at the same address."""
        self._stop()
        with self._server_state.lock:
            self._server_state.reset(keep_sessions)
        self._start()

    def stop(self) -> None:
        """Goes away, as if killed; `start` brings it back."""
        self._stop()

    def start(self) -> None:
        """Comes back after `stop`, as another process that kept its sessions."""
        with self._server_state.lock:
            self._server_state.reset(keep_sessions=True)
        self._start()

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Blocks until `condition` holds; it is looked at whenever a frame was read. Raises TimeoutError."""
        with self._server_state.changed:
            if not self._server_state.changed.wait_for(condition, _WAIT_SECONDS):
                raise TimeoutError("the condition did not come true")

    def _name(self, model: str | None) -> str:
        return model if model is not None else next(iter(self._server_state.models))[0]

    def _start(self) -> None:
        options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
        server = grpc.server(futures.ThreadPoolExecutor(32, "elman-fake"), options=options)
        add_services(server, self._server_state)
        self._port = server.add_insecure_port(f"{_HOST}:{self._port}")
        server.start()
        self._server = server

    def _stop(self) -> None:
        self._server_state.running.set()
        if self._server is not None:
            self._server.stop(grace=None).wait()
            self._server = None
