"""Adoption: the sessions of a model's other versions move to one of them."""

import asyncio
from functools import partial

import numpy as np
from numpy.typing import NDArray

from elman_server.engine.engine import Engine
from elman_server.errors import ServiceError
from elman_server.exchange.session_calls.calls import Owner
from elman_server.exchange.slices import each_slice
from elman_server.models.directory import SessionDirectory, check_takes_sessions
from elman_server.models.moving import check_same_states, move
from elman_server.models.runtime import Runtime


class Adoption:
    """Their turns come one by one, each behind its session's queued chunks. On the engine's thread."""

    def __init__(
        self, engine: Engine, directory: SessionDirectory, target: Runtime, told: "asyncio.Future[tuple[int, int]]"
    ) -> None:
        """`told`: how many moved and how many stayed, once all have had their turn."""
        self._engine = engine
        self._directory = directory
        self._target = target
        self._told = told
        self._num_open = 1  # until all are known
        self._moved = self._stayed = 0

    def begin(self) -> None:
        """Has them move.

        Raises:
            OtherState: the states of a version that has sessions disagree; none is moved.
            Draining, NoSessions: the version takes none.
        """
        target = self._target
        check_takes_sessions(target)
        others = [one for one in self._directory.versions.values() if one is not target and one.sessions.num_open]
        sources = [one for one in others if not one.view.needs_whole_sequences]  # else they hold what was kept
        for source in sources:
            check_same_states(source, target)
        self._go_on(sources)

    def _go_on(self, sources: list[Runtime]) -> None:
        if not sources:
            self._close()
            return
        source = sources.pop()
        slots, then = source.sessions.everyone(), partial(self._go_on, sources)
        each_slice(self._engine, slots, partial(self._move_some, source), then)

    def _move_some(self, source: Runtime, slots: NDArray[np.int64]) -> None:
        for slot in slots[source.sessions.are_attached(slots)].tolist():
            owner = source.sessions.owner(slot)
            if owner is not None:
                self._num_open += 1
                source.after_queued(slot, partial(self._move, owner))

    def _move(self, owner: Owner) -> None:
        try:
            drop_of = lambda runtime: self._engine.worker_of(runtime).commit.drop  # noqa: E731
            moved = not move(self._directory, owner, self._target, drop_of, self._engine.clock.now()).errors
        except ServiceError:  # it ends, say
            moved = False
        self._moved += moved
        self._stayed += not moved
        self._close()

    def _close(self) -> None:
        self._num_open -= 1
        if not self._num_open:
            self._engine.loop_calls.settle(self._told, (self._moved, self._stayed))
