"""Room 5, engine: take in, schedule, run, commit, answer. The only owner of device, pool and sessions; one thread."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch

from elman_server.engine.ending import Ending
from elman_server.engine.inbox import Frames, Inbox, Job, Submission
from elman_server.engine.launch import Launch
from elman_server.engine.periodic_jobs import PeriodicJob, PeriodicJobs
from elman_server.engine.worker import Worker
from elman_server.errors import DeadlinePassed, EngineFailed, ServiceError, UnknownModel
from elman_server.exchange.frames import Frame, FramePart
from elman_server.exchange.initial import Initial
from elman_server.exchange.port import SECONDS_BETWEEN_JOBS, NoPort, Port
from elman_server.exchange.result_queue import ResultQueue
from elman_server.exchange.served import ModelVersion, ServedModel
from elman_server.models.runtime import Runtime
from elman_server.threads.clock import Clock
from elman_server.threads.isolated import isolated
from elman_server.threads.mailbox import LoopCalls

T = TypeVar("T")


class Engine:
    """Serves all runtimes in turn, one batch each. While a batch runs the next one gathers, at the port."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock) -> None:
        """What calls are answered is told on `loop`; what frames are, on the engine's own thread."""
        self.clock = clock
        self.loop_calls = LoopCalls(loop)
        """The engine's way to the loop."""
        self.result_queue = ResultQueue()
        self.periodic_jobs = PeriodicJobs()
        self.ending = Ending()
        self._loop = loop
        self._inbox = Inbox()
        self._port: Port = NoPort()
        self._workers: deque[Worker] = deque()
        self._by_number: dict[int, Worker] = {}  # replaced whole, since it is read from any thread
        self._stopping = False
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)

    # ---- from any thread

    def start(self, port: Port | None = None) -> None:
        """Begins to serve what comes to `port`."""
        if port:
            self._port = port
            self._inbox.listen_to(port)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, and waits for it. What is still queued is let go: whoever asked for it is gone by now."""
        self._stopping = True
        self._inbox.wake()
        self._thread.join()

    def worker(self, number: int) -> Worker | None:
        """The worker of the runtime of that number, if it is served."""
        return self._by_number.get(number)

    def worker_of(self, version: ModelVersion) -> Worker:
        """The worker of a loaded version.

        Raises:
            UnknownModel: it was unloaded meanwhile.
        """
        worker = self._by_number.get(version.number)
        if worker is None or worker.runtime is not version:
            raise UnknownModel(f"model {version.spec.name!r} version {version.spec.version!r} was unloaded")
        return worker

    def submit(self, worker: ServedModel, frame: Frame) -> None:
        """Hands a frame over. It is answered through its sink."""
        self._inbox.put(Submission(worker, frame))

    def submit_infer(self, worker: ServedModel, frame: Frame, initial: Initial) -> None:
        """Hands over a frame of `Infer`, whose rows begin with what is given. It is answered, or refused, through its
        sink."""

        def admit() -> None:
            try:
                worker.admission.admit_infer(frame, initial)
            except ServiceError as error:
                self.result_queue.refuse(frame, error)

        self.post(admit)

    def post(self, function: Job) -> None:
        """Runs `function` on the engine's thread, between two batches, after what was handed over before."""
        self._inbox.put(function)

    def call(self, function: Callable[[], T]) -> "asyncio.Future[T]":
        """As `post`, from the loop's thread; the future has the result or the exception.

        Raises:
            EngineFailed: the engine serves no more.
        """
        self.check()
        future: asyncio.Future[T] = self.ending.expect(self._loop.create_future())

        def run() -> None:
            try:
                result = function()
            except Exception as error:  # noqa: BLE001 - it is told to whoever awaits
                self.loop_calls.settle(future, error=error)
            else:
                self.loop_calls.settle(future, result)

        self.post(run)
        return future

    def expect(self) -> "asyncio.Future[Any]":
        """A future that is settled later, or told should the engine fail before. On the loop's thread."""
        return self.ending.expect(self._loop.create_future())

    def do_now_and_then(self, job: PeriodicJob) -> None:
        """Has `job` done every half second, about. Before the engine starts."""
        self.periodic_jobs.jobs.append(job)

    def cancel(self, parts: Sequence[FramePart]) -> None:
        """Drops the chunks of what a caller has asked that went away, as far as they have not begun."""

        def cancel() -> None:
            for worker in self._workers:
                mine = [part for part in parts if part.frame.model == worker.runtime.number]
                if mine:
                    worker.commit.cancel(mine)

        self.post(cancel)  # after they are taken in

    @property
    def failure(self) -> EngineFailed | None:
        """Why it serves no more, once a bug in its own steps has ended it."""
        return self.ending.failure

    def check(self) -> None:
        """Raises EngineFailed once the engine serves no more."""
        self.ending.check()

    # ---- on the engine's thread

    def add(self, runtime: Runtime) -> None:
        """Serves one more runtime."""
        worker = Worker(runtime, self.result_queue)
        self._by_number = {**self._by_number, runtime.number: worker}
        self._workers.append(worker)

    def remove(self, runtime: Runtime) -> None:
        """Serves a runtime no longer."""
        self._workers.remove(self._by_number[runtime.number])
        self._by_number = {n: w for n, w in self._by_number.items() if n != runtime.number}

    def turn(self) -> bool:
        """Takes in what has come, and runs and answers one batch; whether there may be more to do at once."""
        self._take_in()
        launch = self._schedule()
        if launch:
            self.loop_calls.flush()  # the loop goes on while the batch runs
            launch.begin()
            launch.land()
            self._commit(launch)
        self._answer()
        if launch:
            launch.clean_up()  # what no answer has to wait for
        self._do_periodic_jobs()
        return self._has_work

    @torch.inference_mode()
    def _main(self) -> None:
        is_busy = False
        while not self._stopping:
            if not is_busy:
                self._inbox.wait(SECONDS_BETWEEN_JOBS)
            is_busy = self._turn_or_end()
        self.loop_calls.flush()

    def _turn_or_end(self) -> bool:
        # The one place where a bug in the engine's own steps ends it. After it nobody knows what is true of its tables;
        # what comes to the port is refused.
        try:
            if self.ending.failure is None:
                return self.turn()
            self._port.take()
            self._inbox.take_all()  # whoever waits for it is told that nothing comes
        except Exception as error:  # noqa: BLE001 - told, and the end
            if self.ending.begin(error):
                isolated(self.result_queue.deliver, "what the engine has to say")
                self.ending.tell(self.loop_calls)
        self.loop_calls.flush()
        return False

    def _take_in(self) -> None:
        self._port.take()
        for item in self._inbox.take_all():
            if isinstance(item, Frames):
                item.worker.admission.admit(item.frames)
            else:
                item()

    def _schedule(self) -> Launch | None:
        # The next batch; none where there is none, or all that came up was late.
        worker = self._next_worker()
        if worker is None:
            return None
        runtime, now = worker.runtime, self.clock.now()
        batch, late = runtime.scheduler.form(now)
        if late.size:
            error = DeadlinePassed("its time was over before it ran; it was not applied")
            runtime.metrics.expired_rows.inc(worker.commit.drop_all(late.tolist(), error))
        return None if batch is None else Launch(worker, batch, self.clock)

    def _next_worker(self) -> Worker | None:
        # Round robin over those that have work.
        for _ in range(len(self._workers)):
            worker = self._workers[0]
            self._workers.rotate(-1)
            if worker.runtime.scheduler.has_work:
                return worker
        return None

    def _commit(self, launch: Launch) -> None:
        if launch.result:
            launch.commit(launch.result)
            return
        failed = [launch, *self._followers(launch)]
        for one in reversed(failed):
            one.rollback()
        for one in failed:
            error = EngineFailed("the computation failed; not applied")
            one.worker.commit.drop_all(one.batch.numbers.tolist(), error)

    def _followers(self, launch: Launch) -> list[Launch]:
        # Launches under way that began from what this one should have given.
        return []

    def _answer(self) -> None:
        self.result_queue.deliver()
        self.loop_calls.flush()

    def _do_periodic_jobs(self) -> None:
        now = self.clock.now()
        if now >= self.periodic_jobs.due:
            self.periodic_jobs.run(now)

    @property
    def _has_work(self) -> bool:
        # What came meanwhile ends the wait at once.
        return any(worker.runtime.scheduler.has_work for worker in self._workers)
