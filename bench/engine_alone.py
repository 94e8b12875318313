"""The engine alone: frames taken in, batches scheduled, run and committed, in this process and with nobody to tell."""

import asyncio
import gc
import math
import time
from typing import Any, cast

import numpy as np

from elman_models.stack import Stack
from elman_server.config.server_config import Limits
from elman_server.engine.engine import Engine
from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame, Want
from elman_server.models.runtime import Runtime
from elman_server.sessions.handles import HandleKey
from elman_server.sessions.tombstones import Tombstones
from elman_server.telemetry.metrics import Metrics
from elman_server.threads.clock import Clock

WARM_UP = 20
"""Frames before the clock runs."""


class EngineAlone:
    """Rooms 3 to 6, with the settings of a server."""

    def __init__(self, stack: Stack, sessions: int) -> None:
        """`stack` with its plans, as the server has them."""
        metrics = Metrics().of(stack.spec.name, stack.spec.version)
        runtime = Runtime(stack, 1, HandleKey(), Limits(), Tombstones(1), metrics)
        self._engine = Engine(cast(asyncio.AbstractEventLoop, _NoLoop()), Clock())
        self._engine.add(runtime)
        self._worker = self._engine.worker_of(runtime)
        slots = runtime.sessions.take(sessions, 0.0)
        runtime.sessions.own(slots, "", list(map(str, slots.tolist())))
        self._handles = runtime.sessions.attach(slots, 0.0)
        runtime.pool.reset(slots)
        gc.collect()
        gc.freeze()  # as the server does (serve.py)
        self._input = np.random.default_rng(0).standard_normal((sessions, stack.spec.input_size)).astype(np.float32)

    def run(self, seconds: float) -> float:
        """Session-steps a second: frames of one step of every session, for so long."""
        for _ in range(WARM_UP):
            self._step()
        frames, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            self._step()
            frames += 1
        return frames * len(self._handles) / (time.perf_counter() - began)

    def _step(self) -> None:
        frame = Frame(
            frame_id=1,
            view=self._worker.runtime.view,
            handles=self._handles,
            lengths=np.ones(len(self._handles), np.int64),
            positions=None,
            data=self._input,
            want=Want.ALL,
            want_state=False,
            deadline=math.inf,
            sink=_Nobody(),
            arrived=self._engine.clock.now(),
        )
        self._worker.admission.admit([frame])
        self._engine.turn()


class _NoLoop:
    def call_soon_threadsafe(self, *_: Any) -> None: ...


class _Nobody:
    def on_result(self, frame: Frame, answer: Answer) -> None: ...
    def on_bug(self, frame: Frame, error: Exception) -> None: ...
