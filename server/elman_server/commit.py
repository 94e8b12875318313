"""Commit: what a batch gave goes to sessions, held answers and callers; and what failed is taken back."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray

from elman_models.state import State
from elman_server.answers import failure
from elman_server.delivery import Delivery
from elman_server.errors import PredecessorFailed, ServiceError
from elman_server.frames import Frame, Want
from elman_server.pages import Page
from elman_server.runtime import Runtime
from elman_server.scheduler import Batch

I64 = NDArray[np.int64]


class Commit:
    """Ends chunks of one runtime, each exactly once: as done or as dropped."""

    def __init__(self, runtime: Runtime, delivery: Delivery) -> None:
        self._runtime = runtime
        self._delivery = delivery

    def batch(self, batch: Batch, output: torch.Tensor, state: State) -> None:
        """A batch that ran: output [num_steps, output_size] packed, and each row's state after it."""
        runtime, chunks = self._runtime, self._runtime.scheduler.chunks
        finished = runtime.scheduler.complete(batch)
        page = self._page(batch, finished, output, state)
        number = runtime.held.pages.append(page)
        self._delivery.spread(page, self._askers(chunks.frame[batch.numbers]), chunks.row[batch.numbers])
        chunks.page[batch.numbers] = number
        chunks.page_row[batch.numbers] = np.arange(len(batch.numbers))
        self._finish(batch, np.flatnonzero(finished), number)

    def drop(self, number: int, error: ServiceError) -> None:
        """A chunk that failed, and with it the later ones of its session, which goes back to where it was."""
        runtime, chunks = self._runtime, self._runtime.scheduler.chunks
        slot, begin = int(chunks.slot[number]), int(chunks.begin[number])
        runtime.sessions.admitted[slot] = begin
        runtime.sessions.broken[slot] = True
        start = runtime.starting_states.get(number)
        if start is not None:
            runtime.pool.replace(np.array([slot]), start)
        dropped = runtime.scheduler.drop(number)
        self._postpone(dropped, runtime.scheduler.queue(slot))
        follow = PredecessorFailed(
            f"the chunk at position {begin} failed ({error.reason}), so this one was not applied; "
            f"send again from position {begin}",
            metadata={"position": begin},
        )
        for one in dropped:
            told = error if one == number else follow
            runtime.metrics.reject(told.reason)
            self._delivery.answer(runtime.frames[int(chunks.frame[one])], failure(((int(chunks.row[one]), told),)))
        lent = runtime.sessions.owners[slot] is None  # asked now: a close that waits for these chunks frees the slot
        self._release(np.array(dropped))
        if lent:
            runtime.borrowed -= 1
            runtime.sessions.free(np.array([slot]))

    def _postpone(self, dropped: list[int], kept: list[int]) -> None:
        # What waits for a dropped chunk, a close say, waits for the chunks before it.
        after = self._runtime.after
        waiting = [function for number in dropped for function in after.pop(number, ())] if after and kept else []
        if waiting:
            after.setdefault(kept[-1], []).extend(waiting)

    def drop_all(self, numbers: Iterable[int], error: ServiceError) -> int:
        """Drops those of `numbers` that still live; how many of them there were."""
        count = 0
        for number in numbers:
            if self._runtime.scheduler.chunks.live[number]:
                self.drop(number, error)
                count += 1
        return count

    def _askers(self, numbers: I64) -> list[Frame]:
        # The frame of each row, or the one frame of them all.
        if numbers[0] == numbers[-1] and (numbers == numbers[0]).all():
            return [self._runtime.frames[int(numbers[0])]]
        return [self._runtime.frames[number] for number in numbers.tolist()]

    def _page(self, batch: Batch, finished: NDArray[np.bool_], output: torch.Tensor, state: State) -> Page:
        chunks = self._runtime.scheduler.chunks
        kinds = chunks.kind[batch.numbers]
        wants_state = bool(((kinds & 1) & finished).any())
        wants_output = bool((kinds >> 1 != Want.NONE).any())
        return Page(
            starts=batch.starts,
            takes=batch.takes,
            offsets=batch.offsets,
            finished=finished,
            positions=chunks.begin[batch.numbers] + batch.starts + batch.takes,
            output=output.cpu().numpy() if wants_output else None,
            h_n=state.h.cpu().numpy() if wants_state else None,
            c_n=state.c.cpu().numpy() if wants_state and state.c is not None else None,
            previous_page=chunks.page[batch.numbers],
            previous_row=chunks.page_row[batch.numbers],
        )

    def _finish(self, batch: Batch, rows: I64, page: int) -> None:
        runtime, chunks, sessions = self._runtime, self._runtime.scheduler.chunks, self._runtime.sessions
        if not rows.size:
            return
        numbers, slots = batch.numbers[rows], batch.slots[rows]
        all_numbers = numbers
        lengths = chunks.length[numbers]
        sessions.position[slots] += lengths
        lent = ~sessions.is_attached(slots)
        if lent.any():
            runtime.borrowed -= int(lent.sum())
            sessions.free(slots[lent])
            own = ~lent
            numbers, slots, lengths, rows = numbers[own], slots[own], lengths[own], rows[own]
        runtime.held.hold(slots, chunks.begin[numbers], lengths, chunks.kind[numbers], page, rows)
        self._release(all_numbers)

    def _release(self, numbers: I64) -> None:
        runtime, chunks = self._runtime, self._runtime.scheduler.chunks
        runtime.queue_bytes -= int(chunks.length[numbers].sum()) * runtime.input.num_bytes
        runtime.inputs.release(chunks.block[numbers])
        runtime.frames.release(chunks.frame[numbers])
        chunks.release(numbers)
        if runtime.starting_states or runtime.after:
            for number in numbers.tolist():
                runtime.starting_states.pop(number, None)
                for function in runtime.after.pop(number, ()):
                    function()
