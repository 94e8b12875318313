"""A program that forks beside a client; `python forking.py ADDRESS ORDER`. Prints what came of it."""

import asyncio
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import elman
from elman._shared.fork_guard import FORK_GUARD, core_threads, threads


def step_once(client: elman.Client) -> float:
    """The first output of a new session: 1."""
    with client.model("sum").session() as session:
        return float(session.step([1, 0])[0])


def outcome(function: Callable[[], object]) -> str:
    try:
        return repr(function())
    except elman.ElmanError as error:
        return type(error).__name__


def in_fork(function: Callable[[], object]) -> str:
    """What the function gives in a forked process; "hung" if it does not."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    process = context.Process(target=lambda: answers.put(outcome(function)))
    process.start()
    process.join(30)
    if process.is_alive():
        process.kill()
        return "hung"
    return answers.get() if process.exitcode == 0 else f"ended with {process.exitcode}"


def of_its_own(address: str) -> str:
    def use() -> float:
        with elman.Client(address) as client:
            return step_once(client)

    return in_fork(use)


def closed(address: str) -> None:
    with elman.Client(address) as client:
        step_once(client)
    print(of_its_own(address), of_its_own(address))


def open_and_used(address: str) -> None:
    with elman.Client(address) as client:
        session = client.model("sum").session()
        for number in range(3):
            print(of_its_own(address), session.step([1, 0])[0] == 2 - 0.5**number)


def stepping(address: str) -> None:
    """A thread steps all the while: no step is lost and none applied twice."""
    is_over = threading.Event()
    with elman.Client(address, retry=None) as client, client.model("sum").session() as session:
        outputs: list[float] = []

        def step() -> None:
            while not is_over.is_set():
                outputs.append(float(session.step([1, 0])[0]))

        thread = threading.Thread(target=step)
        thread.start()
        results = {of_its_own(address) for _ in range(5)}
        is_over.set()
        thread.join()
        print(*results, session.state().position == len(outputs))


def at_rest(address: str) -> None:
    """Nothing of gRPC's runs when the process forks, not even what ends it, or else the child is told so. Prints what
    did, and whether a child was ever not told."""
    with elman.Client(address) as client, client.model("sum").session() as session:
        left: set[str] = set()
        num_safe = 0
        for _ in range(100):
            session.step([1, 0])
            FORK_GUARD.before_fork()
            if not FORK_GUARD._is_unsafe:
                num_safe += 1
                left |= {one for one in map(described, core_threads(threads())) if not one.endswith(" S")}
            FORK_GUARD.after_fork_in_parent()
        print(sorted(left), num_safe > 0)


def described(number: str) -> str:
    """A thread's name and state, for whoever reads why the test failed."""
    try:
        stat = Path("/proc/self/task", number, "stat").read_text()
    except OSError:
        return f"{number}, which has ended"
    return " ".join(stat.split()[:3])


def failed(address: str) -> None:
    """An exception that somebody keeps holds no call of gRPC's."""
    client = elman.Client(address)
    try:
        client.model("nothing")
    except elman.UnknownModelError as error:
        kept = error
    session = client.model("sum").session()
    try:
        session.step([float("nan"), 0])
    except elman.InvalidInputError as error:
        kept.__context__ = error
    print(of_its_own(address), type(kept).__name__)
    client.close()
    print(of_its_own(address))


def inherited(address: str) -> None:
    client = elman.Client(address)
    model = client.model("sum")
    session, pool = model.session(), model.sessions(2)
    calls = (
        client.models,
        client.is_ready,
        lambda: client.model("sum"),
        model.session,
        lambda: model.infer([[1, 0]]),
        lambda: session.step([1, 0]),
        lambda: list(session.stream([[1, 0]])),
        session.state,
        lambda: pool.step([[1, 0]] * 2),
        client.close,
    )
    print(in_fork(lambda: [outcome(call) for call in calls]))
    print(session.step([1, 0])[0])


def unused(address: str) -> None:
    client = elman.Client(address)
    print(in_fork(client.models), of_its_own(address), step_once(client))


def of_coroutines(address: str) -> None:
    async def use() -> None:
        client = elman.AsyncClient(address)
        await client.models()
        print(
            of_its_own(address), in_fork(lambda: asyncio.run(client.models())), in_fork(lambda: elman.AsyncClient("x"))
        )
        await client.close()

    asyncio.run(use())
    print(of_its_own(address))


if __name__ == "__main__":
    {
        function.__name__: function
        for function in (closed, open_and_used, stepping, at_rest, failed, inherited, unused, of_coroutines)
    }[sys.argv[2]](sys.argv[1])
    sys.stdout.flush()
    os._exit(0)
