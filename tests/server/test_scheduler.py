"""The scheduler under random work."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from elman_server.scheduling.scheduler import Batch, Scheduler

SLOTS, ROWS, SLICE = 6, 3, 4


def add(scheduler: Scheduler, slot: int, length: int, deadline: float = np.inf) -> int:
    number = scheduler.chunks.take()
    chunk = scheduler.chunks.table[number]
    chunk["slot"], chunk["length"], chunk["deadline"] = slot, length, deadline
    scheduler.queues.append(number)
    return number


def run(scheduler: Scheduler, batch: Batch) -> list[int]:
    """Completes a batch; the chunks that are finished by it, released."""
    finished: list[int] = batch.numbers[scheduler.complete(batch)].tolist()
    scheduler.chunks.release(finished)
    return finished


def check(batch: Batch, scheduler: Scheduler) -> None:
    assert 1 <= len(batch.numbers) <= ROWS
    assert len(set(batch.slots.tolist())) == len(batch.slots)
    assert batch.takes.max() <= SLICE
    assert batch.takes.min() >= 1
    assert (np.diff(batch.takes) <= 0).all()
    assert (batch.starts + batch.takes <= scheduler.chunks["length"][batch.numbers]).all()
    assert batch.sizes.tolist() == [int((batch.takes > t).sum()) for t in range(batch.takes[0])]
    assert batch.num_steps == batch.takes.sum()


Actions = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, SLOTS - 1), st.integers(1, 11)),
        st.tuples(st.just("run"), st.just(0), st.just(0)),
        st.tuples(st.just("drop"), st.integers(0, SLOTS - 1), st.integers(0, 3)),
    ),
    max_size=60,
)


@given(Actions)
def test_nothing_is_lost_or_run_twice_or_out_of_order_under_random_work(actions: list[tuple[str, int, int]]) -> None:
    scheduler = Scheduler(SLOTS, 100, ROWS, SLICE)
    queues: dict[int, list[int]] = {slot: [] for slot in range(SLOTS)}
    left: dict[int, int] = {}

    def turn() -> None:
        batch, late = scheduler.form(0.0)
        assert not late.size
        if batch is None:
            return
        check(batch, scheduler)
        for number, slot, take in zip(batch.numbers, batch.slots, batch.takes, strict=True):
            assert queues[slot][0] == number
            left[number] -= int(take)
        for number in run(scheduler, batch):
            assert left.pop(number) == 0
            for queue in queues.values():
                if queue[:1] == [number]:
                    queue.pop(0)

    for kind, slot, value in actions:
        if kind == "add" and len(scheduler.chunks.free):
            number = add(scheduler, slot, value)
            queues[slot].append(number)
            left[number] = value
        elif kind == "run":
            turn()
        elif kind == "drop" and len(queues[slot]) > value:
            number = queues[slot][value]
            dropped = scheduler.queues.drop(number)
            assert dropped == queues[slot][value:]
            del queues[slot][value:]
            for one in dropped:
                del left[one]
            scheduler.chunks.release(dropped)
        assert {s: scheduler.queues.of(s) for s in range(SLOTS)} == queues
    for _ in range(200):
        turn()
    assert not left
    assert not scheduler.has_work
    assert scheduler.chunks.free.num_taken == 0


def test_sessions_take_turns_and_a_long_chunk_goes_to_the_back_of_the_line() -> None:
    scheduler = Scheduler(SLOTS, 100, 2, SLICE)
    add(scheduler, 0, 40)
    for slot in (1, 2, 3):
        add(scheduler, slot, 2)
    seen = []
    for _ in range(4):
        batch, _ = scheduler.form(0.0)
        assert batch
        seen.append(sorted(batch.slots.tolist()))
        run(scheduler, batch)
    assert seen == [[0, 1], [2, 3], [0], [0]]


def test_a_chunk_is_late_only_before_its_first_slice() -> None:
    scheduler = Scheduler(SLOTS, 100, ROWS, SLICE)
    begun = add(scheduler, 0, 9, deadline=5.0)
    batch, late = scheduler.form(4.0)
    assert batch
    assert not late.size
    run(scheduler, batch)
    never = add(scheduler, 1, 9, deadline=5.0)
    batch, late = scheduler.form(5.0)
    assert late.tolist() == [never]
    assert batch
    assert batch.numbers.tolist() == [begun]


def test_the_scheduler_comes_without_torch_and_grpc() -> None:
    code = (
        "import sys, elman_server.scheduling.scheduler; "
        "sys.exit(any(m.split('.')[0] in ('torch', 'grpc') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
