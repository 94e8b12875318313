"""A worker: one runtime with those who admit to it and commit from it."""

from elman_server.engine.admission import Admission
from elman_server.engine.commit import Commit
from elman_server.exchange.result_queue import ResultQueue
from elman_server.models.runtime import Runtime


class Worker:
    """Used by the engine's thread alone; others only pass it on."""

    def __init__(self, runtime: Runtime, result_queue: ResultQueue) -> None:
        self.runtime = runtime
        self.admission = Admission(runtime, result_queue)
        self.commit = Commit(runtime, result_queue)
