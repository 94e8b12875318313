"""The walk of one row's step through the running server is counted, and may only get shorter.

Counted are calls into the server's and the models' files, how many files they lie in, and how often the walk moves from
one file to another. A compiled loop is one call, however much it calls itself; C++ does not show.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import numpy as np
import pytest
from served import DOOR, Serve, Served
from toys import SPECS, random_input

import elman_models
import elman_server
from elman_server.door.choice import choose

ROOTS = [Path(package.__file__ or "").parent for package in (elman_server, elman_models)]
ENGINE_ROOMS = ("engine", "models", "sessions", "scheduling", "exchange", "tables", "telemetry", "elman_models")
INNER = ("<genexpr>", "<listcomp>", "<dictcomp>", "<setcomp>", "<lambda>")
RNG = np.random.default_rng(3)
NUM_WALKS, COUNTS = 30, 5
"""How many, and which of them counts, from the shortest: one turn of the engine's more is in many, by what comes when,
and one or two are cut short."""


class Walk(NamedTuple):
    """Of one step."""

    calls: int
    files: int
    moves: int
    """From one file to another."""

    def exceeds(self, bar: "Walk") -> bool:
        return any(mine > allowed for mine, allowed in zip(self, bar, strict=True))


WHOLE = {"native": Walk(calls=172, files=36, moves=109), "plain": Walk(calls=255, files=44, moves=165)}
"""With a look at health, which waits for what is done after the answer."""
ENGINE = {"native": Walk(calls=96, files=22, moves=50), "plain": Walk(calls=135, files=28, moves=82)}
"""The engine's part; the aim is 110 calls, 22 files, 50 moves. The bars are what was found when they were last lowered,
and a little for what depends on timing, which on the plain door may be a turn of the engine's more."""


@asynccontextmanager
async def recorded(served: Served) -> AsyncIterator[list[str]]:
    """The files of the calls, by name below the package, of the loop's and the engine's thread while it is entered."""
    calls: list[str] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_name not in INNER:
            path = Path(code.co_filename)
            calls.extend(str(path.relative_to(root.parent)) for root in ROOTS if path.is_relative_to(root))

    await served.on_engine(partial(sys.setprofile, note))
    await served.health_of("")  # what that left is done
    sys.setprofile(note)
    calls.clear()
    yield calls
    sys.setprofile(None)
    await served.on_engine(partial(sys.setprofile, None))


def walk_of(calls: list[str]) -> Walk:
    moves = sum(one != before for before, one in zip([None, *calls], calls, strict=False))
    return Walk(len(calls), len(set(calls)), moves)


def is_engines(file: str) -> bool:
    parts = Path(file).parts
    return parts[0] in ENGINE_ROOMS or parts[1] in ENGINE_ROOMS


async def test_a_step_of_one_row_takes_no_longer_a_walk_than_it_did(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve("lstm")
    opened, stepper = await served.open("lstm", count=1), await served.step()
    data = [random_input(SPECS["lstm"], RNG, 1)]
    for _ in range(3):
        await stepper.ask(opened.handles, data)
    walks = []
    for _ in range(NUM_WALKS):
        await served.health_of("")  # what the step before left is done
        async with recorded(served) as calls:
            await stepper.ask(opened.handles, data)
            await served.health_of("")
            walked = list(calls)
        walks.append((walk_of(walked), walk_of([file for file in walked if is_engines(file)])))
    whole, engine = (
        Walk(*(sorted(one)[COUNTS] for one in zip(*found, strict=True))) for found in zip(*walks, strict=True)
    )
    door = choose(DOOR).name
    assert not whole.exceeds(WHOLE[door]), whole
    assert not engine.exceeds(ENGINE[door]), engine
