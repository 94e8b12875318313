"""Room 5, engine: schedule, run, commit. The only owner of device, pool and sessions; one thread."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from elman_models.packed import Packed
from elman_models.state import State
from elman_server.admission import Admission
from elman_server.answers import refusal
from elman_server.clock import Clock
from elman_server.commit import Commit
from elman_server.delivery import Delivery
from elman_server.errors import Cancelled, DeadlinePassed, EngineFailed
from elman_server.frames import Asker, Frame
from elman_server.runtime import Runtime
from elman_server.scheduler import Batch

T = TypeVar("T")
log = logging.getLogger(__name__)

MAX_IDLE_SECONDS = 0.5
"""Between looks for idle sessions."""


class Worker:
    """One runtime with those who admit to it and commit from it."""

    def __init__(self, runtime: Runtime, delivery: Delivery) -> None:
        self.runtime = runtime
        self.admission = Admission(runtime, delivery)
        self.commit = Commit(runtime, delivery)


class Submission(NamedTuple):
    """A frame in the inbox."""

    worker: Worker
    frame: Frame


class Engine:
    """Serves all runtimes in turn, one batch each."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        """Answers are delivered on `loop`."""
        self.clock = clock
        self.delivery = Delivery(loop)
        self._loop = loop
        self._inbox: deque[Submission | Callable[[], None]] = deque()
        self._wake = threading.Event()
        self._workers: deque[Worker] = deque()
        self._idle_jobs: list[Callable[[float], None]] = []
        self._when_empty: list[tuple[Runtime, Callable[[], None]]] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)

    def start(self) -> None:
        """Begins to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, after what it has admitted; waits for it."""
        self.post(self._stop)
        self._thread.join()

    def submit(self, worker: Worker, frame: Frame) -> None:
        """Hands a frame over, from any thread. It is answered through its asker."""
        self._inbox.append(Submission(worker, frame))
        if not self._wake.is_set():
            self._wake.set()

    def post(self, function: Callable[[], None]) -> None:
        """Runs `function` on the engine's thread, after what was handed over before."""
        self._inbox.append(function)
        self._wake.set()

    def call(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """As `post`, from the loop's thread; the future has the result or the exception."""
        future: asyncio.Future[T] = self._loop.create_future()

        def run() -> None:
            try:
                result = function()
            except Exception as error:  # noqa: BLE001 - it is told to whoever awaits
                self.delivery.call(lambda error=error: _settle(future, error=error))  # type: ignore[misc]
            else:
                self.delivery.call(lambda: _settle(future, result))

        self.post(run)
        return future

    def when_idle(self, job: Callable[[float], None]) -> None:
        """Has `job` called with the time, now and then, between batches."""
        self._idle_jobs.append(job)

    def when_empty(self, runtime: Runtime, function: Callable[[], None]) -> None:
        """Has `function` called once nothing waits or runs for the runtime. On the engine's thread."""
        self._when_empty.append((runtime, function))

    def add(self, worker: Worker) -> None:
        """Serves one more runtime. On the engine's thread."""
        self._workers.append(worker)

    def remove(self, worker: Worker) -> None:
        """Serves a runtime no longer. On the engine's thread."""
        self._workers.remove(worker)

    def cancel(self, asker: Asker) -> None:
        """Drops the chunks of an asker that went away, as far as they have not begun. From any thread."""
        self.post(lambda: self._cancel(asker))

    def step(self) -> bool:
        """One batch of the next runtime that has work; whether there was one."""
        worker = next((w for w in self._workers if w.runtime.scheduler.has_work), None)
        if worker is None:
            return False
        self._workers.rotate(-1 - self._workers.index(worker))
        batch = self._schedule(worker)
        if batch is not None:
            try:
                output, state = self._run(worker.runtime, batch)
            except Exception:
                log.exception("a batch of model %s failed", worker.runtime.spec.name)
                worker.commit.drop_all(batch.numbers.tolist(), EngineFailed("the computation failed; not applied"))
            else:
                worker.commit.batch(batch, output, state)
        return True

    def _schedule(self, worker: Worker) -> Batch | None:
        now = self.clock.now()
        batch, late = worker.runtime.scheduler.form(now)
        if late.size:
            error = DeadlinePassed("its time was over before it ran; it was not applied")
            worker.runtime.metrics.expired_rows.inc(worker.commit.drop_all(late.tolist(), error))
        if batch is not None:
            first = batch.numbers[batch.starts == 0]
            worker.runtime.metrics.queue_seconds.observe_all(now - worker.runtime.scheduler.chunks.arrived[first])
        return batch

    def _run(self, runtime: Runtime, batch: Batch) -> tuple[torch.Tensor, State]:
        began = self.clock.now()
        data = torch.from_numpy(runtime.inputs.gather(runtime.scheduler.chunks, batch)).to(runtime.device)
        state = runtime.pool.read(batch.slots)
        self._keep_starts(runtime, batch, state)
        # What the batch before gave is told now: while this one is computed the loop has the interpreter to itself.
        self.delivery.flush()
        output, state = runtime.stack.step(Packed(data, batch.sizes), state)
        runtime.pool.replace(batch.slots, state)
        runtime.metrics.plan(runtime.stack.plan_name)
        runtime.metrics.ran(len(batch.numbers), batch.num_steps, len(output), self.clock.now() - began)
        return output.cpu(), state  # on CUDA what failed on the device is told here, before anything is committed

    def _keep_starts(self, runtime: Runtime, batch: Batch, state: State) -> None:
        # A chunk longer than a slice is all or nothing: its starting state is put back if a later slice fails.
        longer = (batch.starts == 0) & (batch.takes < runtime.scheduler.chunks.length[batch.numbers])
        for row in np.flatnonzero(longer).tolist():
            runtime.starting_states[int(batch.numbers[row])] = state.rows(torch.tensor([row], device=runtime.device))

    def _main(self) -> None:
        next_idle_jobs = self.clock.now()
        while not self._stopping or self._has_work:
            self._wake.clear()
            self._take_in()
            worked = self._stepped()
            self._tell_empty()
            if self.clock.now() >= next_idle_jobs:
                for job in self._idle_jobs:
                    self._guarded(partial(job, self.clock.now()))
                next_idle_jobs = self.clock.now() + MAX_IDLE_SECONDS
            if self._inbox or self._has_work:
                continue  # told when the next batch is computed
            self.delivery.flush()
            if not worked and not self._stopping:
                self._wake.wait(MAX_IDLE_SECONDS)
        self.delivery.flush()

    @property
    def _has_work(self) -> bool:
        return any(worker.runtime.scheduler.has_work for worker in self._workers)

    def _stepped(self) -> bool:
        try:
            return self.step()
        except Exception:
            log.exception("a bug on the engine's thread")
            return True

    def _take_in(self) -> None:
        # Frames for one runtime that stand together in the inbox are admitted together.
        items = [self._inbox.popleft() for _ in range(len(self._inbox))]
        for worker, group in groupby(items, key=lambda item: item.worker if isinstance(item, Submission) else None):
            together = list(group)
            if worker:
                self._admit(worker, [item.frame for item in together if isinstance(item, Submission)])
                continue
            for item in together:
                if not isinstance(item, Submission):
                    self._guarded(item)

    def _admit(self, worker: Worker, frames: list[Frame]) -> None:
        if not self._guarded(partial(worker.admission.admit, frames)):
            for frame in frames:
                self.delivery.answer(frame, refusal(EngineFailed("the server failed to take the frame in")))

    def _guarded(self, function: Callable[[], None]) -> bool:
        # Whether it returned. A bug in one thing that was asked must not end the thread that serves everyone.
        try:
            function()
        except Exception:
            log.exception("a bug on the engine's thread")
            return False
        return True

    def _tell_empty(self) -> None:
        if self._when_empty:
            empty = [entry for entry in self._when_empty if not entry[0].queue_rows]
            self._when_empty = [entry for entry in self._when_empty if entry[0].queue_rows]
            for _, function in empty:
                function()

    def _cancel(self, asker: Asker) -> None:
        error = Cancelled("its caller went away before it ran; it was not applied")
        for worker in self._workers:
            runtime, chunks = worker.runtime, worker.runtime.scheduler.chunks
            frames = [number for number, frame in runtime.frames.items() if frame.asker is asker]
            waiting = chunks.live & (chunks.done == 0) & np.isin(chunks.frame, frames)
            runtime.metrics.cancelled_rows.inc(worker.commit.drop_all(np.flatnonzero(waiting).tolist(), error))

    def _stop(self) -> None:
        self._stopping = True


def _settle(future: "asyncio.Future[T]", result: T | None = None, *, error: Exception | None = None) -> None:
    if future.done():
        return
    if error:
        future.set_exception(error)
    else:
        future.set_result(result)  # type: ignore[arg-type]
