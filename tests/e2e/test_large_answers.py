"""Answers too large to be held, and large ones: their own sessions' callers notice, nobody else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_gate import EngineGate
from frames_on_wire import ALL, LAST, NONE, Ask, Stepper
from served import Serve, Served

from elman_models import Cell, HeadSpec, ModelSpec, write_bundle

SPEC = ModelSpec(name="wide", cell=Cell.GRU, input_size=2, hidden_size=4, head=HeadSpec(out_features=512))
REPLAY_BYTES = 1 << 20
"""An output has 2 KiB: 256 KiB, 128 of them, are the largest share."""
RNG = np.random.default_rng(6)


@pytest.fixture
async def served(serve: Serve, tmp_path: Path) -> Served:
    rnn, head = torch.nn.GRU(2, 4), torch.nn.Linear(4, 512)
    weights = {f"rnn.{k}": v.detach() for k, v in rnn.named_parameters()}
    write_bundle(tmp_path / "wide", SPEC, weights | {f"head.{k}": v.detach() for k, v in head.named_parameters()})
    return await serve(models=tmp_path, replay_bytes=REPLAY_BYTES, max_queue_rows=4096)


class Caller:
    """Some sessions on a stream of their own, which remembers what it sent."""

    def __init__(self, stepper: Stepper, handles: Sequence[int]) -> None:
        self.stepper = stepper
        self.handles = handles
        self.position = 0

    @classmethod
    async def of(cls, served: Served, count: int) -> "Caller":
        return cls(await served.step(), (await served.open("wide", count=count)).handles)

    async def send(self, steps: int, want: Any = ALL) -> Ask:
        self._sent = [RNG.standard_normal((steps, 2)).astype(np.float32)] * len(self.handles), want, self.position
        self.position += steps
        return await self._send()

    async def ask(self, steps: int, want: Any = ALL) -> Ask:
        return await self.stepper.finish(await self.send(steps, want))

    async def _send(self) -> Ask:
        data, want, position = self._sent
        return await self.stepper.send(self.handles, data, positions=[position] * len(self.handles), return_output=want)

    async def again(self, first: Ask) -> set[str]:
        """Asks for the latest once more: how its rows end; those that are answered are answered as before."""
        repeat = await self.stepper.finish(await self._send())
        for row, before in zip(repeat.rows, first.rows, strict=True):
            if not row.error:
                assert (row.position, len(row.steps)) == (before.position, len(before.steps))
                assert all((ours == theirs).all() for ours, theirs in zip(row.steps, before.steps, strict=True))
        return {row.error.reason if row.error else "answered" for row in repeat.rows}


async def test_an_answer_too_large_to_be_held_is_gone_for_its_own_asker_alone(served: Served) -> None:
    small, large = await Caller.of(served, 1), await Caller.of(served, 64)
    step = await small.ask(1)
    assert await large.again(await large.ask(16)) == {"ANSWER_GONE"}
    assert await small.again(step) == {"answered"}
    assert (await large.ask(1)).rows[0].position == 17  # and its sessions go on


@pytest.mark.parametrize("want", [LAST, NONE], ids=["LAST", "NONE"])
async def test_of_a_large_batch_what_was_asked_for_is_held(served: Served, want: Any) -> None:
    small, large = await Caller.of(served, 1), await Caller.of(served, 64)
    step = await small.ask(1)
    for _ in range(3):
        assert await large.again(await large.ask(16, want)) == {"answered"}
    assert await small.again(step) == {"answered"}


async def test_however_many_large_answers_come_the_small_ones_stay(served: Served) -> None:
    small, large = await Caller.of(served, 1), await Caller.of(served, 16)
    step = await small.ask(1)
    for _ in range(20):
        first = await large.ask(4)
    assert await large.again(first) == {"answered"}
    assert await small.again(step) == {"answered"}


async def test_a_step_that_ran_in_somebody_s_large_batch_is_held(served: Served) -> None:
    small, large = await Caller.of(served, 1), await Caller.of(served, 64)
    async with EngineGate(served) as engine_gate:
        frames = await large.send(16), await small.send(1)
        await engine_gate.arrived(2)
    gone, step = await large.stepper.finish(frames[0]), await small.stepper.finish(frames[1])
    assert await served.on_engine(lambda: served.runtime("wide").metrics.launches._value.get()) == 1
    assert await small.again(step) == {"answered"}
    assert await large.again(gone) == {"ANSWER_GONE"}
