"""Batches begun while others are computed: the fast loop, on a device that is asynchronous in name."""

import logging

import numpy as np
import pytest
from hypothesis import Phase, settings
from overlapped_by_hand import OverlappedByHand
from session_machine import LIMITS, SETTINGS, SessionMachine
from stepped_engine import Asked, SteppedEngine
from toys import Array, Toy, assert_near, random_input, toy

from elman_server.errors import EngineFailed, PredecessorFailed

RNG = np.random.default_rng(5)


class OverlappedMachine(SessionMachine):
    """Up to two batches are under way, with rows of the same sessions."""

    def make_engine(self, toy: Toy) -> SteppedEngine:
        return OverlappedByHand(toy, **LIMITS)

    def compare(self, *, in_order: bool = True) -> None:
        super().compare(in_order=False)  # several batches land in a turn


OverlappedMachine.TestCase.settings = settings(
    SETTINGS,
    max_examples=30,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
TestSessionsAgreeWithTorchBesideOthers = pytest.mark.filterwarnings(
    "ignore::hypothesis.errors.NonInteractiveExampleWarning"
)(OverlappedMachine.TestCase)


def begin_two(stepped: OverlappedByHand, sink: Asked, *frames: tuple[list[int], Array]) -> None:
    """Frames of single steps, each in a batch of its own, both under way."""
    for handles, data in frames:
        stepped.submit(stepped.frame(handles, data, [1] * len(handles), sink))
        stepped.engine.turn()
    assert len(stepped.flight) == 2


def test_a_session_is_in_two_batches_at_a_time_one_after_the_other() -> None:
    stepped, sink = OverlappedByHand(toy("lstm")), Asked()
    opened = stepped.open("a", "b")
    data = random_input(stepped.toy.spec, RNG, 4)
    begin_two(stepped, sink, (opened.handles, data[:2]), (opened.handles, data[2:]))
    stepped.turn(0)
    stepped.engine._answer()
    output = np.concatenate([answer.output for answer in sink.answers])
    for row in range(2):
        assert_near(output[row::2], stepped.toy.run(data[row::2])[0])
    stepped.assert_nothing_left()


def test_what_followed_a_launch_that_failed_is_undone_with_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    stepped, sink = OverlappedByHand(toy("lstm")), Asked()
    a, b = stepped.open("a", "b").handles
    data = random_input(stepped.toy.spec, RNG, 3)
    stepped.submit(stepped.frame([a, b], data[[0, 0]], [1, 1], sink))
    stepped.drain()
    stepped.transfer.lost = 1
    begin_two(stepped, sink, ([a], data[1:2]), ([a, b], data[[2, 1]]))  # b is in the second one alone
    stepped.turn(0)
    stepped.engine._answer()
    assert [type(how) for how in sink.ended.values()][2:] == [EngineFailed, PredecessorFailed, EngineFailed]
    assert stepped.runtime.sessions.position[stepped.runtime.sessions.everyone()].tolist() == [1, 1]
    for handle in (a, b):
        again = stepped.submit(stepped.frame([handle], data[1:], [2], sink, positions=[1]))
        stepped.drain()
        assert sink.ended[again.frame_id, 0] == 3
        assert_near(sink.answers[-1].output, stepped.toy.run(data)[0][1:])
    stepped.assert_nothing_left()


def test_a_launch_that_fails_when_half_of_it_is_written_is_undone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    stepped, sink = SteppedEngine(toy("lstm")), Asked()
    opened = stepped.open("a")
    data = random_input(stepped.toy.spec, RNG, 2)
    stepped.submit(stepped.frame(opened.handles, data[:1], [1], sink))
    stepped.drain()
    to_host = stepped.runtime.transfer.to_host
    stepped.runtime.transfer.to_host = None  # type: ignore[method-assign, assignment]
    stepped.submit(stepped.frame(opened.handles, data[1:], [1], sink))
    stepped.drain()
    stepped.runtime.transfer.to_host = to_host  # type: ignore[method-assign]
    again = stepped.submit(stepped.frame(opened.handles, data[1:], [1], sink, positions=[1]))
    stepped.drain()
    assert sink.ended[again.frame_id, 0] == 2
    assert_near(sink.answers[-1].output, stepped.toy.run(data)[0][1:])
    stepped.assert_nothing_left()
