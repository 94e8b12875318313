"""On whose thread a batch runs, and that it makes no difference to what comes of it."""

import asyncio
import threading
from typing import Any, cast

import numpy as np
import pytest
from served import Serve, Served
from toys import SPECS, Array, assert_near, random_input, toy

from elman_server.engine.inbox import Frames, Inbox, Job, Submission

SPEC = SPECS["lstm"]
RNG = np.random.default_rng(9)
GUARD_SECONDS = 120
LOOP, ENGINE = threading.current_thread().name, "engine"


def watched(served: Served, monkeypatch: pytest.MonkeyPatch, seconds: Any) -> list[str]:
    """The threads on which batches run, in order, where a batch takes `seconds(rows, steps)` by what was measured."""
    stack, threads = served.runtime("lstm").stack, []
    step = stack.step

    def noted(*args: Any, **options: Any) -> Any:
        threads.append(threading.current_thread().name)
        return step(*args, **options)

    monkeypatch.setattr(stack.plans, "seconds", seconds)
    monkeypatch.setattr(stack, "step", noted)
    return threads


async def check(served: Served, lengths: list[list[int]], *, at_once: bool = True) -> None:
    """Frames with chunks of these lengths, of the same sessions on one stream, are answered as torch answers them."""
    rows = len(lengths[0])
    opened, stepper = await served.open("lstm", count=rows), await served.step()
    given: list[list[Array]] = [[random_input(SPEC, RNG, length) for length in frame] for frame in lengths]
    asks = []
    for inputs in given:
        asks.append(await stepper.send(opened.handles[: len(inputs)], inputs))
        if not at_once:
            await stepper.finish(asks[-1])
    for ask in asks:
        await stepper.finish(ask)
    for row in range(rows):
        took = [inputs[row] for inputs in given if row < len(inputs)]
        gave = [ask.rows[row].output for ask in asks if row < len(ask.rows)]
        assert_near(np.concatenate(gave), toy("lstm").run(np.concatenate(took))[0])
    assert (await stepper.end()).name == "OK"


@pytest.mark.parametrize(("seconds", "thread"), [(0.0, LOOP), (1.0, ENGINE)])
async def test_quick_batches_run_on_the_loop_and_long_ones_beside_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, seconds: float, thread: str
) -> None:
    served = await serve("lstm")
    threads = watched(served, monkeypatch, lambda rows, steps: seconds)
    await check(served, [[20, 3], [5], [1, 1]], at_once=False)
    await check(served, [[20, 3], [5], [1, 1]])  # a stream that is sent on before it is answered
    assert set(threads) == {thread}


async def test_batches_that_change_threads_are_answered_in_order(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve("lstm", max_slice=4)
    threads = watched(served, monkeypatch, lambda rows, steps: float(rows * steps > 6))
    for seed in range(10):
        rng = np.random.default_rng(seed)
        lengths = [sorted(rng.integers(1, 9, size=size).tolist(), reverse=True) for size in (4, 1, 3, 1, 2, 1)]
        await asyncio.gather(check(served, lengths), check(served, lengths[::-1][-1:] + lengths))
    assert set(threads) == {LOOP, ENGINE}
    await served.assert_all_released()


async def test_short_jobs_wait_for_no_thread_and_long_ones_keep_none_waiting(serve: Serve) -> None:
    engine = (await serve("lstm")).server.door.engine
    name: Any = lambda: threading.current_thread().name  # noqa: E731
    with engine._turn:
        pass  # the turn that the model was added in is over
    assert await engine.call(name, is_short=True) == LOOP
    assert await engine.call(name) == ENGINE
    together = await asyncio.gather(engine.call(name, is_short=True), engine.call(name))
    assert together[1] == ENGINE  # the short one may go with it


async def test_a_step_comes_to_run_however_many_long_jobs_there_are(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve("lstm")
    threads = watched(served, monkeypatch, lambda rows, steps: 0.0)
    monkeypatch.setattr(Inbox, "has_long_jobs", True)  # whenever the loop looks, there is another one
    await asyncio.wait_for(check(served, [[3], [1]]), GUARD_SECONDS)
    assert set(threads) == {ENGINE}


def test_frames_of_one_worker_that_stand_together_are_taken_in_together() -> None:
    inbox, one, other = Inbox(), cast(Any, "one"), cast(Any, "other")
    frames: list[Any] = list("abcd")
    jobs = [lambda: None, lambda: None]
    assert not inbox
    for item in (
        Submission(one, frames[0]),
        Submission(one, frames[1]),
        Submission(other, frames[2]),
        Job(jobs[0], is_short=True),
        Submission(other, frames[3]),
    ):
        inbox.put(item)
    assert inbox
    assert not inbox.has_long_jobs
    inbox.put(Job(jobs[1], is_short=False))
    assert inbox.has_long_jobs
    taken = inbox.take_all()
    assert taken == [Frames(one, frames[:2]), Frames(other, frames[2:3]), jobs[0], Frames(other, frames[3:]), jobs[1]]
    assert not inbox
