"""Room 5, engine: schedule, run, commit. The only owner of device, pool and sessions; one thread at a time."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from elman_server.engine.ending import Ending
from elman_server.engine.inbox import Frames, Inbox, Job, Submission
from elman_server.engine.launch import Launch
from elman_server.engine.overlapped import InFlightBatches
from elman_server.engine.periodic_jobs import SECONDS_BETWEEN, PeriodicJobs
from elman_server.engine.worker import Worker
from elman_server.errors import DeadlinePassed, EngineFailed, ServiceError
from elman_server.exchange.clock import Clock
from elman_server.exchange.frames import Frame, FramePart
from elman_server.exchange.isolated import isolated
from elman_server.exchange.result_queue import ResultQueue

T = TypeVar("T")

QUICK_SECONDS = 3e-3
"""Up to which a batch is better computed between reading and answering than beside (bench/README.md)."""
MESSAGE_SECONDS = 50e-6
"""What the event loop spends on a message, about: it is what a thread beside it would wait for."""
MAX_LOOP_SECONDS = 5e-3
"""The event loop is not to stand still for longer."""


class Engine:
    """Serves all runtimes in turn, one batch each.

    The interpreter runs one thread at a time: beside a thread that reads and answers messages another one computes no
    faster, but both wait for each other. So batches run on the event loop's thread, between what it reads and what it
    answers; on the engine's own, beside it, run those for which the loop would stand still for too long, those of
    devices that compute by themselves, and long jobs.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock, *, on_loop: bool = True) -> None:
        """Answers are delivered on `loop`. `on_loop` False: no batch runs there."""
        self.clock = clock
        self.result_queue = ResultQueue(loop, self.fail)
        self._loop = loop
        self._inbox = Inbox()
        self._wake = threading.Event()
        self._turn = threading.Lock()  # held by whichever thread is the engine's at the moment
        self._on_loop = on_loop
        self._turn_is_due = False  # on the loop
        self._formed: Launch | None = None  # left by one thread for the other
        self._workers: deque[Worker] = deque()
        self.periodic_jobs = PeriodicJobs()
        self._stopping = False
        self.ending = Ending()
        self._in_flight = InFlightBatches(completed=self._wake.set)
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)

    def start(self) -> None:
        """Begins to serve."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, and waits for it. What is still queued is let go: whoever asked for it is gone by now."""
        self.post(self._stop)
        self._thread.join()

    def submit(self, worker: Worker, frame: Frame) -> None:
        """Hands a frame over, from the loop's thread. It is answered through its asker."""
        self._inbox.put(Submission(worker, frame))
        self._call_for_turn()

    def soon(self, function: Callable[[], None]) -> None:
        """As `post`, from the loop's thread, for what takes no time: any thread that is the engine's runs it."""
        self._inbox.put(Job(function, is_short=True))
        self._call_for_turn()

    def post(self, function: Callable[[], None]) -> None:
        """Runs `function` on the engine's thread, after what was handed over before. From any thread."""
        self._inbox.put(Job(function, is_short=False))
        self._wake.set()

    def call(self, function: Callable[[], T], *, is_short: bool = False, is_own: bool = False) -> "asyncio.Future[T]":
        """As `post`, or for what `is_short` as `soon`, from the loop's thread; the future has the result or the
        exception. `is_own`: it is one of the engine's own steps, so a bug in it ends the engine.

        Raises:
            EngineFailed: that has happened.
        """
        self.check()
        future: asyncio.Future[T] = self._loop.create_future()
        self.ending.expect(future)

        def run() -> None:
            try:
                result = function()
            except Exception as error:  # it is told to whoever awaits
                if is_own and not isinstance(error, ServiceError):
                    raise
                self.result_queue.settle(future, error=error)
            else:
                self.result_queue.settle(future, result)

        (self.soon if is_short else self.post)(run)
        return future

    @property
    def failure(self) -> EngineFailed | None:
        """Why it serves no more, once a bug in its own steps has ended it."""
        return self.ending.failure

    def check(self) -> None:
        """Raises EngineFailed once the engine serves no more. From any thread."""
        self.ending.check()

    def fail(self, error: Exception) -> None:
        """Ends the engine for a bug in its own steps: after it nobody knows what is true of its tables. What it has to
        say is told first. From any thread; once."""
        if self.ending.begin(error):
            self._wake.set()
            isolated(self.result_queue.flush, "what the engine has to say")
            self._loop.call_soon_threadsafe(self.ending.tell)

    def add(self, worker: Worker) -> None:
        """Serves one more runtime. On the engine's thread."""
        self._workers.append(worker)

    def remove(self, worker: Worker) -> None:
        """Serves a runtime no longer. On the engine's thread."""
        self._workers.remove(worker)

    def cancel(self, parts: Sequence[FramePart]) -> None:
        """Drops the chunks of what a caller has asked that went away, as far as they have not begun. From the loop's
        thread."""

        def cancel() -> None:
            for worker in self._workers:
                mine = [part for part in parts if part.frame.model == worker.runtime.number]
                if mine:
                    worker.commit.cancel(mine)

        self.post(cancel)  # they may be many

    def step(self) -> bool:
        """The plain loop's turn, whole: one batch of the next runtime that has work; whether there was one."""
        launch = self._next_launch()
        if launch:
            self._run(launch)
            launch.clean_up()
        return launch is not None

    def step_beside(self) -> bool:
        """The fast loop's turn, beside the event loop: what has landed is committed and the next batch begun, while
        another one is computed; whether there was anything to do."""
        completed = self._in_flight.completed()
        if completed:
            self._commit(completed)
            completed.clean_up()
        was_formed = self._formed is not None
        launch = self._next_launch()
        if launch and not was_formed and self._is_for_loop(launch):  # what was handed over once is not sent to and fro
            self._formed = launch
            self._loop.call_soon_threadsafe(self._call_for_turn)
            return completed is not None
        if launch and launch.is_asynchronous:
            self._in_flight.begin(launch)
        elif launch:
            self._run(launch)
            launch.clean_up()
        if self._in_flight:
            self.result_queue.flush()  # told while the device computes: the loop has the interpreter to itself
        # Where nothing is under way and work is left, all that came up was late: there may be more.
        return bool(completed or launch) or (self._has_work and not self._in_flight)

    def step_on_loop(self) -> None:
        """A turn on the event loop's thread: what has come is taken in, and a batch run that is quick."""
        if self.result_queue.is_busy:
            self._call_for_turn()  # what was told before arrives first
            return
        self._take_in()
        launch = self._next_launch()
        if launch and not self._is_for_loop(launch):
            launch, self._formed = None, launch
        if launch:
            self._run(launch, beside_loop=False)
        try:
            self.result_queue.deliver_all()
        finally:
            if launch:
                launch.clean_up()  # while those who asked are reading
        if self._formed:
            self._wake.set()
        elif self._inbox or self._has_work:
            self._call_for_turn()

    def _call_for_turn(self) -> None:
        # On the loop's thread.
        if not self._on_loop:
            self._wake.set()
        elif not self._turn_is_due:
            self._turn_is_due = True
            self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        # On the loop's thread, once all that has arrived by now is read.
        self._turn_is_due = False
        if not self._turn.acquire(blocking=False):
            self._wake.set()
            return
        try:
            may_run = self._may_run_on_loop and not self._inbox.has_long_jobs
            if may_run:
                self._own(self.step_on_loop)
            else:
                self._wake.set()  # what is left is not to wait for another message
        finally:
            self._turn.release()

    @property
    def _may_run_on_loop(self) -> bool:
        return self._on_loop and not (
            self._in_flight or self.periodic_jobs.awaits_drained or self._stopping or self.failure
        )

    def _is_for_loop(self, launch: Launch) -> bool:
        messages = len(launch.worker.runtime.frames.items())
        quick = min(QUICK_SECONDS + messages * MESSAGE_SECONDS, MAX_LOOP_SECONDS)
        return self._may_run_on_loop and launch.expected_seconds <= quick

    def _run(self, launch: Launch, *, beside_loop: bool = True) -> None:
        launch.read()
        if beside_loop:
            self.result_queue.flush()  # any sooner, and it is the engine that waits for the interpreter
        launch.begin()
        launch.land()
        self._commit(launch)

    def _next_launch(self) -> Launch | None:
        launch, self._formed = self._formed, None
        if launch is None and (worker := self._next_worker()):
            launch = self._schedule(worker)  # none where all were late: dropping many takes time
        return launch

    def _next_worker(self) -> Worker | None:
        # Round robin over those that have work; None where the next one is better begun later.
        worker = next((w for w in self._workers if w.runtime.scheduler.has_work), None)
        if worker is None or not self._in_flight.has_room(worker.runtime.scheduler.num_ready):
            return None
        # What waits for a session's chunks to end, a look at its state say, is served before later chunks begin.
        if worker.runtime.after and self._in_flight.last_of(worker):
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
        return Launch(worker, batch, self.clock)

    def _commit(self, launch: Launch) -> None:
        if launch.result:
            launch.commit(launch.result)
            return
        # With it those that followed it, from states that are not to be; no chunk is taken in before all are dropped.
        failed = [launch, *self._in_flight.withdraw(launch.worker)]
        for one in reversed(failed):
            one.rollback()
        for one in failed:
            error = EngineFailed("the computation failed; not applied")
            one.worker.commit.drop_all(one.batch.numbers.tolist(), error)

    def _main(self) -> None:
        self._in_flight.start()
        while not (self._stopping or self.failure):
            self._wake.clear()
            with self._turn:
                rests = self._own(self._take_turn_beside)
            if rests and not self._stopping:
                self._wake.wait(SECONDS_BETWEEN)
        self._in_flight.stop()

    def _take_turn_beside(self) -> bool:
        # All that is due on the engine's thread; whether there was nothing.
        self._take_in()
        worked = self.step_beside()
        isolated(self.periodic_jobs.report_drained, "the chores")
        for job in self.periodic_jobs.due(self.clock.now()):
            isolated(partial(job, self.clock.now()), "the chores")
        if not (worked and not self._stopping and (self._inbox or self._has_work)):
            self.result_queue.flush()  # else told when the next batch is begun
        return not worked

    def _own(self, turn: Callable[[], T]) -> T | None:
        # A turn of either thread, which holds `_turn`: the one place where a bug in the engine's own steps ends it.
        if self.failure is not None:
            return None
        try:
            return turn()
        except Exception as error:  # noqa: BLE001 - told, and the end
            self.fail(error)
            return None

    @property
    def _has_work(self) -> bool:
        return bool(self._formed or self._in_flight) or any(w.runtime.scheduler.has_work for w in self._workers)

    def _take_in(self) -> None:
        for item in self._inbox.take_all():
            if isinstance(item, Frames):
                item.worker.admission.admit(item.frames)
            else:
                item()

    def _stop(self) -> None:
        self._stopping = True
