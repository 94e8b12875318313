"""The engine on a clock that stands still, one turn at a time."""

import numpy as np
from stepped import Asked, Bench
from toys import assert_near, random_input, toy

from elman_server.errors import DeadlinePassed, LimitReached, PredecessorFailed
from elman_server.frames import Want
from elman_server.lifecycle import Closed

RNG = np.random.default_rng(3)


def make_bench(**limits: object) -> Bench:
    return Bench(toy("lstm"), **limits)


def test_a_close_waiting_for_a_chunk_that_is_dropped_frees_the_slot_once() -> None:
    bench, asker = make_bench(), Asked()
    opened = bench.open("a")
    frame = bench.frame(opened.handles, random_input(bench.toy.spec, RNG, 1), [1], asker, timeout=0)
    bench.submit(frame)
    closed: list[Closed] = []
    bench.do(lambda: bench.lifecycle.close("me", ["a"], closed.append))
    bench.drain()
    assert isinstance(asker.ended[frame.frame_id, 0], DeadlinePassed)
    assert [c.positions for c in closed] == [[0]]
    bench.assert_nothing_left()


def test_a_frame_refused_beside_others_is_told_to_retry_if_alone_it_would_fit() -> None:
    bench, asker = make_bench(max_queue_rows=4), Asked()
    opened = bench.open(*"abcdef")
    for k in range(3):
        data = random_input(bench.toy.spec, RNG, 2)
        bench.submit(bench.frame(opened.handles[2 * k : 2 * k + 2], data, [1, 1], asker))
    bench.drain()
    (error,) = asker.refused.values()
    assert isinstance(error, LimitReached)
    assert error.retry_seconds is not None
    assert "4 wait and 2 came" in error.message
    assert len(asker.ended) == 4
    bench.assert_nothing_left()
