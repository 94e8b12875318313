"""On whose thread a batch runs, and what goes on meanwhile."""

import asyncio
import threading
from typing import Any, cast

import numpy as np
import pytest
from served import Serve, Served
from toys import SPECS, Array, assert_near, random_input, toy

from elman_server.engine.inbox import Frames, Inbox, Submission

SPEC = SPECS["lstm"]
RNG = np.random.default_rng(9)
GUARD_SECONDS = 120


def watched(served: Served, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The threads on which batches run, in order."""
    stack, threads = served.runtime("lstm").stack, []
    step = stack.step

    def noted(*args: Any, **options: Any) -> Any:
        threads.append(threading.current_thread().name)
        return step(*args, **options)

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


async def test_all_batches_run_on_the_engines_thread(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve("lstm", max_slice=4)
    threads = watched(served, monkeypatch)
    await check(served, [[20, 3], [5], [1, 1]], at_once=False)
    await check(served, [[20, 3], [5], [1, 1]])  # a stream that is sent on before it is answered
    assert set(threads) == {"engine"}


async def test_streams_at_once_are_answered_in_order(serve: Serve) -> None:
    served = await serve("lstm", max_slice=4)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        lengths = [sorted(rng.integers(1, 9, size=size).tolist(), reverse=True) for size in (4, 1, 3, 1, 2, 1)]
        await asyncio.gather(check(served, lengths), check(served, lengths[::-1][-1:] + lengths))
    await served.assert_all_released()


async def test_the_loop_answers_while_a_batch_runs(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = await serve("lstm")
    stack, is_over = served.runtime("lstm").stack, threading.Event()
    step = stack.step

    def slow(*args: Any, **options: Any) -> Any:
        assert is_over.wait(GUARD_SECONDS)
        return step(*args, **options)

    monkeypatch.setattr(stack, "step", slow)
    stepping = asyncio.ensure_future(check(served, [[3]]))
    for _ in range(3):
        assert await served.health_of("lstm") == "SERVING"
    is_over.set()
    await stepping


def test_frames_of_one_worker_that_stand_together_are_taken_in_together() -> None:
    inbox, one, other = Inbox(), cast(Any, "one"), cast(Any, "other")
    frames: list[Any] = list("abcd")
    jobs = [lambda: None, lambda: None]
    assert not inbox.take_all()
    for item in (
        Submission(one, frames[0]),
        Submission(one, frames[1]),
        Submission(other, frames[2]),
        jobs[0],
        Submission(other, frames[3]),
    ):
        inbox.put(item)
    inbox.put(jobs[1])
    taken = inbox.take_all()
    assert taken == [Frames(one, frames[:2]), Frames(other, frames[2:3]), jobs[0], Frames(other, frames[3:]), jobs[1]]
    assert not inbox.take_all()
