"""Room 5, engine: schedule, run, commit. The only owner of device, pool and sessions; one thread at a time."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import groupby
from typing import TypeVar

import numpy as np

from elman_server.answers import refusal
from elman_server.clock import Clock
from elman_server.delivery import Delivery
from elman_server.errors import Cancelled, DeadlinePassed, EngineFailed
from elman_server.flight import Flight
from elman_server.frames import Asker, Frame
from elman_server.launch import Launch, Result
from elman_server.runtime import Runtime
from elman_server.submission import Submission, is_quick
from elman_server.worker import Worker

T = TypeVar("T")
log = logging.getLogger(__name__)

MAX_IDLE_SECONDS = 0.5
"""Between looks for idle sessions."""


class Engine:
    """Serves all runtimes in turn, one batch each."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, *, on_loop: bool = True) -> None:
        """Answers are delivered on `loop`. `on_loop`: batches that are quick to compute run there, too."""
        self.clock = clock
        self.delivery = Delivery(loop)
        self._loop = loop
        self._inbox: deque[Submission | Callable[[], None]] = deque()
        self._wake = threading.Event()
        self._turn = threading.Lock()  # held by whichever thread is the engine's at the moment
        self._on_loop = on_loop
        self._turn_is_due = False
        self._workers: deque[Worker] = deque()
        self._idle_jobs: list[Callable[[float], None]] = []
        self._when_empty: list[tuple[Runtime, Callable[[], None]]] = []
        self._stopping = False
        self._flight = Flight(landed=self._wake.set)
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)

    def start(self) -> None:
        """Begins to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, after what it has admitted; waits for it."""
        self.post(self._stop)
        self._thread.join()

    def submit(self, worker: Worker, frame: Frame, *, is_pipelined: bool = False) -> None:
        """Hands a frame over, from the loop's thread. It is answered through its asker. `is_pipelined`: its stream was
        sent on before all that came earlier was answered."""
        self._inbox.append(Submission(worker, frame, is_pipelined))
        if not self._on_loop:
            self._wake.set()
        elif not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        # On the loop's thread, once all that has arrived by now is read.
        self._turn_is_due = False
        items = list(self._inbox)
        if is_quick(items) and self._turn.acquire(blocking=False):
            try:
                if not (self._has_work or self.delivery.is_busy):
                    self._take_in()
                    self._stepped()
                    self.delivery.deliver()
            finally:
                self._turn.release()
        if self._inbox or self._has_work or self._when_empty:
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
        """The plain loop's turn, whole: one batch of the next runtime that has work; whether there was one."""
        worker = self._next_worker()
        if worker:
            self._step(worker)
        return worker is not None

    def step_beside(self) -> bool:
        """The fast loop's turn: what has landed is committed and the next batch begun, while another one is computed;
        whether there was anything to do."""
        landed = self._flight.landed()
        if landed:
            self._commit(landed)
        worker = self._next_worker()
        if worker and not worker.runtime.transfer.is_asynchronous:
            self._step(worker)
        elif worker and (launch := self._schedule(worker)):
            self._flight.begin(launch)
        if self._flight:
            self.delivery.flush()  # told while the device computes: the loop has the interpreter to itself
        return bool(landed or worker)

    def _step(self, worker: Worker) -> None:
        launch = self._schedule(worker)
        if launch:
            launch.read()
            self.delivery.flush()  # likewise; any sooner, and it is the engine that waits for the interpreter
            launch.begin()
            launch.land()
            self._commit(launch)

    def _next_worker(self) -> Worker | None:
        # Round robin over those that have work; None where the next one is better begun later.
        worker = next((w for w in self._workers if w.runtime.scheduler.has_work), None)
        if worker is None or not self._flight.has_room(worker.runtime.scheduler.num_ready):
            return None
        # What waits for a session's chunks to end, a look at its state say, is served before later chunks begin.
        if worker.runtime.after and self._flight.last_of(worker):
            return None
        self._workers.rotate(-1 - self._workers.index(worker))
        return worker

    def _schedule(self, worker: Worker) -> Launch | None:
        runtime, now = worker.runtime, self.clock.now()
        batch, late = runtime.scheduler.form(now)
        if late.size:
            error = DeadlinePassed("its time was over before it ran; it was not applied")
            runtime.metrics.expired_rows.inc(worker.commit.drop_all(late.tolist(), error))
        if batch is None:
            return None
        runtime.scheduler.observe_waits(batch, now, runtime.metrics.queue_seconds)
        return Launch(worker, batch, self.clock)

    def _commit(self, launch: Launch) -> None:
        if launch.result:
            self._count(launch, launch.result)
            launch.worker.runtime.starting_states.update(launch.result.starting_states)
            launch.worker.commit.batch(launch.batch, launch.result.output, launch.result.state, self.clock.now())
            return
        # With it those that followed it, from states that are not to be; no chunk is taken in before all are dropped.
        failed = [launch, *self._flight.recall(launch.worker)]
        for one in reversed(failed):
            one.undo()
        for one in failed:
            error = EngineFailed("the computation failed; not applied")
            one.worker.commit.drop_all(one.batch.numbers.tolist(), error)

    def _count(self, launch: Launch, result: Result) -> None:
        metrics, batch = launch.worker.runtime.metrics, launch.batch
        metrics.plan(result.plan_name)
        metrics.ran(len(batch.numbers), batch.num_steps, len(result.output), result.seconds)

    def _main(self) -> None:
        self._flight.start()
        next_idle_jobs = self.clock.now()
        while not self._stopping or self._has_work:
            self._wake.clear()
            with self._turn:
                self._take_in()
                worked = self._stepped()
                self._tell_empty()
                if self.clock.now() >= next_idle_jobs:
                    for job in self._idle_jobs:
                        self._guarded(partial(job, self.clock.now()))
                    next_idle_jobs = self.clock.now() + MAX_IDLE_SECONDS
                if worked and (self._inbox or self._has_work):
                    continue  # told when the next batch is begun
                self.delivery.flush()
            if not worked:
                self._wake.wait(MAX_IDLE_SECONDS)
        self._flight.stop()

    @property
    def _has_work(self) -> bool:
        return bool(self._flight) or any(worker.runtime.scheduler.has_work for worker in self._workers)

    def _stepped(self) -> bool:
        try:
            return self.step_beside()
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
            waiting = chunks["live"] & (chunks["launched"] == 0) & np.isin(chunks["frame"], frames)
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
