"""JIT warm-up: one row of the smallest model through all rooms, so that no caller waits for anything to be compiled."""

import logging
import math

import numpy as np
import torch

from elman_models.spec import Cell, ModelSpec
from elman_models.stack import Stack
from elman_server.config.server_config import Limits
from elman_server.engine.launch import Launch
from elman_server.engine.worker import Worker
from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame, Want
from elman_server.exchange.result_queue import ResultQueue
from elman_server.models.runtime import Runtime
from elman_server.models.view import view_of
from elman_server.sessions.handles import HandleKey
from elman_server.sessions.tombstones import Tombstones
from elman_server.tables.jit import CACHE
from elman_server.telemetry.metrics import Metrics
from elman_server.threads.clock import Clock

log = logging.getLogger(__name__)

SPEC = ModelSpec(name="warm-up", cell=Cell.RNN_TANH, input_size=1, hidden_size=1)
VIEW = view_of(SPEC)


def warm_up_jit() -> None:
    """Some seconds where nothing is in the cache (`jit.py`), a moment where it is."""
    if CACHE.folder is None:
        log.warning("compiled code is not kept, so each start takes some seconds longer: %s", CACHE.reason)
    rnn = torch.nn.RNN(SPEC.input_size, SPEC.hidden_size)
    stack = Stack(SPEC, {f"rnn.{name}": p.detach() for name, p in rnn.named_parameters()}, torch.device("cpu"))
    limits = Limits(max_sessions=1, max_infer_rows=1, max_queue_rows=2, replay_bytes=1 << 12)
    key, result_queue = HandleKey(), ResultQueue()
    runtime = Runtime(stack, 1, key, limits, Tombstones(1), Metrics().of(SPEC.name, SPEC.version))
    worker = Worker(runtime, result_queue)
    slots = runtime.sessions.take(1, 0.0)
    runtime.sessions.own(slots, "", [""])
    handles = runtime.sessions.attach(slots, 0.0)
    runtime.pool.reset(slots)
    key.models(handles)
    for _ in range(2):
        worker.admission.admit([_frame(handles)])
        batch, _ = runtime.scheduler.form(0.0)
        assert batch is not None  # one row was admitted
        runtime.metrics.session_lifetime.observe_all(np.zeros(1))
        launch = Launch(worker, batch, Clock())
        launch.begin()
        launch.land()
        assert launch.result is not None
        launch.commit(launch.result)
        result_queue.deliver()
        launch.clean_up()


class _Nobody:
    def on_result(self, frame: Frame, answer: Answer) -> None: ...
    def on_bug(self, frame: Frame, error: Exception) -> None: ...


def _frame(handles: "np.ndarray[tuple[int], np.dtype[np.uint64]]") -> Frame:
    return Frame(
        frame_id=1,
        handles=handles,
        lengths=np.ones(1, np.int64),
        positions=None,
        view=VIEW,
        data=np.zeros((1, 1), np.float32),
        want=Want.ALL,
        want_state=True,
        deadline=math.inf,
        sink=_Nobody(),
        arrived=0.0,
    )
