"""Asking for generations, and listening to them: the door's way in."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import NamedTuple
from weakref import WeakSet

from elman_server.engine.engine import Engine
from elman_server.engine.worker import Worker
from elman_server.errors import (
    AnswerGone,
    Draining,
    EngineFailed,
    InvalidInput,
    PositionAhead,
    ServiceError,
    Superseded,
)
from elman_server.exchange.model_view import ModelView
from elman_server.exchange.session_calls.calls import Owner
from elman_server.generating.generation import Generation, bug
from elman_server.generating.generator import Generator
from elman_server.generating.spec import GenerateSpec
from elman_server.generating.target import Target, find_target
from elman_server.generating.telling import Telling
from elman_server.models.catalogue import Catalogue
from elman_server.models.directory import SessionDirectory, SessionLocation
from elman_server.threads.mailbox import LoopCalls

log = logging.getLogger(__name__)


class Listener:
    """Who waits for a generation, on the loop."""

    def __init__(self, loop_calls: LoopCalls) -> None:
        self._loop_calls = loop_calls
        self._has_more = asyncio.Event()
        self.generation: Generation | None = None
        """Once it has begun."""
        self.error: ServiceError | None = None
        """Why it is not told of it any more, or it has not begun."""
        self.is_gone = False
        """Whether nobody listens any more. On the engine's thread."""

    async def wait(self) -> None:
        """Until there is more to tell, or an error."""
        await self._has_more.wait()
        self._has_more.clear()

    def notify(self) -> None:
        """There is more. On the loop."""
        self._has_more.set()

    def begin(self, generation: Generation) -> None:
        """It has begun, or goes on. On the engine's thread."""
        if generation.listener is not None:
            generation.listener.fail(Superseded("the same was asked for again, and goes on there"))
        self.generation = generation
        generation.listener = self
        self._loop_calls.put(self.notify)

    def fail(self, error: ServiceError) -> None:
        """It is over for this one. On the engine's thread."""
        self.error = error
        self._loop_calls.put(self.notify)


class Asked(NamedTuple):
    """What a call asks for."""

    principal: str
    session_id: str
    """Empty: one of its own."""
    read: Callable[[ModelView], GenerateSpec]
    """Reads what is asked of a model; raises ServiceError."""
    key: bytes
    """The same for the same request."""
    position: int | None
    """Where it begins; None: where the session is."""
    told: int
    """Steps that the caller has."""

    @property
    def owner(self) -> Owner:
        """Of the session."""
        return Owner(self.principal, self.session_id)


class Generators:
    """One for each model version. On the engine's thread."""

    def __init__(self, engine: Engine, catalogue: Catalogue) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self.worker_of = engine.worker_of
        self._generators: dict[Worker, Generator] = {}
        self._telling = Telling(engine)
        self._draining = False
        self._listeners: WeakSet[Listener] = WeakSet()
        engine.do_now_and_then(lambda _: self._forget_unloaded())

    def directory(self, model: str) -> SessionDirectory:
        """The sessions of the model of that name. From any thread.

        Raises:
            UnknownModel: no version of it is loaded.
        """
        return self._catalogue.directory(model)

    def target(self, model: str, version: str, principal: str, session_id: str) -> Target:
        """As `find_target`."""
        return find_target(self._engine, self._catalogue, model, version, principal, session_id)

    def ask(self, directory: SessionDirectory, asked: Asked, listener: Listener) -> None:
        """Has a session generate after its queued chunks, or go on where it was cut. What is wrong with it is told to
        the listener."""

        def begin() -> None:
            place = directory.there(asked.owner)
            if place.runtime.scheduler.queues.is_empty(place.slot):
                self._begin(place, directory, asked, listener)
            else:
                find()  # more was queued meanwhile, before its turn came

        def find() -> None:
            place = directory.find(asked.owner)
            found = self._of(place, directory).records.find(place.slot)
            if found and found.key == asked.key and found.begin == asked.position:
                self._resume(self._of(place, directory), found, asked, listener)
            else:
                # A batch's commit is no place to admit steps in.
                later = partial(self._engine.post, partial(self._isolate, listener, begin))
                place.runtime.after_queued(place.slot, later)

        self._listeners.add(listener)
        self._isolate(listener, find)

    def leave(self, listener: Listener) -> None:
        """Nobody listens any more: it ends within a step, and rests."""
        listener.is_gone = True
        generation = listener.generation
        if generation and generation.listener is listener:
            generation.listener = None

    def drain(self) -> None:
        """The server stops: what runs ends within a step."""
        self._end(Draining("the server is stopping; reconnect"))

    def fail(self, error: EngineFailed) -> None:
        """Ends all: the engine answers no more."""
        self._end(error)
        for listener in list(self._listeners):
            if listener.generation is None and listener.error is None:  # its turn does not come any more
                listener.fail(error)

    def _end(self, error: Draining | EngineFailed) -> None:
        self._draining = True
        for generator in list(self._generators.values()):
            generator.end_all(error)

    def _isolate(self, listener: Listener, function: Callable[[], None]) -> None:
        if listener.is_gone:  # before its turn came
            return
        try:
            function()
        except ServiceError as error:
            listener.fail(error)
            self._engine.loop_calls.flush()
        except Exception as error:
            log.exception("a bug in what begins a generation")
            listener.fail(bug(error))
            self._engine.loop_calls.flush()

    def _of(self, place: SessionLocation, directory: SessionDirectory) -> Generator:
        worker = self.worker_of(place.runtime)
        if worker not in self._generators:
            self._generators[worker] = Generator(worker, self._engine, directory, self._telling)
        return self._generators[worker]

    def _forget_unloaded(self) -> None:
        # A model that is not served any more is let go of, with its weights and states.
        for worker in list(self._generators):
            if self._engine.worker(worker.runtime.number) is not worker:
                del self._generators[worker]

    def _begin(self, place: SessionLocation, directory: SessionDirectory, asked: Asked, listener: Listener) -> None:
        runtime, slot = place
        if self._draining:
            raise Draining("the server is stopping; reconnect")
        admitted = int(runtime.sessions.admitted[slot])
        _check_position(asked, admitted)
        if asked.told:
            raise InvalidInput(f"told: nothing was generated from position {admitted} yet, got {asked.told}")
        spec = asked.read(runtime.view)
        created, turns = float(runtime.sessions.created[slot]), int(runtime.turns[slot])
        generation = Generation(spec, asked.key, slot, created, admitted, turns)
        if spec.prompt is None:
            generation.output = runtime.last_output(slot, spec.outputs)
            if generation.output is None:
                raise InvalidInput(
                    "expected a prompt: the output that the session gave last is not held; it has not stepped yet, "
                    "returned none then, or too much ran since"
                )
        generator = self._of(place, directory)
        generator.give_way(slot)
        listener.begin(generation)
        generator.start(generation)

    def _resume(self, generator: Generator, found: Generation, asked: Asked, listener: Listener) -> None:
        if asked.told > found.count:
            raise InvalidInput(f"told: {found.count} steps were generated, got {asked.told}")
        listener.begin(found)
        generator.resume(found)


def _check_position(asked: Asked, admitted: int) -> None:
    if asked.position is None or asked.position == admitted:
        return
    known = {"position": admitted, "given": asked.position}
    if asked.position > admitted:
        raise PositionAhead(f"position {asked.position} is ahead of the session's, {admitted}", metadata=known)
    raise AnswerGone(
        f"position {asked.position} is behind the session's, {admitted}, and what was generated there is not held",
        metadata=known,
    )
