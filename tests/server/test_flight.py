"""Batches begun while others are computed: the fast loop, on a device that is asynchronous in name."""

import logging

import numpy as np
import pytest
from beside import BesideBench
from hypothesis import Phase, settings
from session_machine import LIMITS, SETTINGS, SessionMachine
from stepped import Asked, Bench
from toys import Array, Toy, assert_near, random_input, toy

from elman_server.errors import EngineFailed, PredecessorFailed

RNG = np.random.default_rng(5)


class BesideMachine(SessionMachine):
    """Up to two batches are under way, with rows of the same sessions."""

    def make_bench(self, toy: Toy) -> Bench:
        return BesideBench(toy, **LIMITS)

    def compare(self, *, in_order: bool = True) -> None:
        super().compare(in_order=False)  # several batches land in a turn


BesideMachine.TestCase.settings = settings(
    SETTINGS,
    max_examples=30,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
TestSessionsAgreeWithTorchBesideOthers = pytest.mark.filterwarnings(
    "ignore::hypothesis.errors.NonInteractiveExampleWarning"
)(BesideMachine.TestCase)


def begin_two(bench: BesideBench, sink: Asked, *frames: tuple[list[int], Array]) -> None:
    """Frames of single steps, each in a batch of its own, both under way."""
    for handles, data in frames:
        bench.submit(bench.frame(handles, data, [1] * len(handles), sink))
        bench.engine.turn()
    assert len(bench.flight) == 2


def test_a_session_is_in_two_batches_at_a_time_one_after_the_other() -> None:
    bench, sink = BesideBench(toy("lstm")), Asked()
    opened = bench.open("a", "b")
    data = random_input(bench.toy.spec, RNG, 4)
    begin_two(bench, sink, (opened.handles, data[:2]), (opened.handles, data[2:]))
    bench.turn(0)
    bench.engine._answer()
    output = np.concatenate([answer.output for answer in sink.answers])
    for row in range(2):
        assert_near(output[row::2], bench.toy.run(data[row::2])[0])
    bench.assert_nothing_left()


def test_what_followed_a_launch_that_failed_is_undone_with_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    bench, sink = BesideBench(toy("lstm")), Asked()
    a, b = bench.open("a", "b").handles
    data = random_input(bench.toy.spec, RNG, 3)
    bench.submit(bench.frame([a, b], data[[0, 0]], [1, 1], sink))
    bench.drain()
    bench.transfer.lost = 1
    begin_two(bench, sink, ([a], data[1:2]), ([a, b], data[[2, 1]]))  # b is in the second one alone
    bench.turn(0)
    bench.engine._answer()
    assert [type(how) for how in sink.ended.values()][2:] == [EngineFailed, PredecessorFailed, EngineFailed]
    assert bench.runtime.sessions.position[bench.runtime.sessions.everyone()].tolist() == [1, 1]
    for handle in (a, b):
        again = bench.submit(bench.frame([handle], data[1:], [2], sink, positions=[1]))
        bench.drain()
        assert sink.ended[again.frame_id, 0] == 3
        assert_near(sink.answers[-1].output, bench.toy.run(data)[0][1:])
    bench.assert_nothing_left()


def test_a_launch_that_fails_when_half_of_it_is_written_is_undone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    bench, sink = Bench(toy("lstm")), Asked()
    opened = bench.open("a")
    data = random_input(bench.toy.spec, RNG, 2)
    bench.submit(bench.frame(opened.handles, data[:1], [1], sink))
    bench.drain()
    to_host = bench.runtime.transfer.to_host
    bench.runtime.transfer.to_host = None  # type: ignore[method-assign, assignment]
    bench.submit(bench.frame(opened.handles, data[1:], [1], sink))
    bench.drain()
    bench.runtime.transfer.to_host = to_host  # type: ignore[method-assign]
    again = bench.submit(bench.frame(opened.handles, data[1:], [1], sink, positions=[1]))
    bench.drain()
    assert sink.ended[again.frame_id, 0] == 2
    assert_near(sink.answers[-1].output, bench.toy.run(data)[0][1:])
    bench.assert_nothing_left()
