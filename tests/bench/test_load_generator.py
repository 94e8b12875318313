"""The parts of the load generator."""

import numpy as np
import pytest

from elman import wire
from elman.v1 import inference_pb2
from elman_server.loadgen.frame_bytes import Shape, endless, make_frames
from elman_server.loadgen.lengths import Lengths
from elman_server.loadgen.loops import poisson
from elman_server.loadgen.outcome import join
from elman_server.loadgen.reading import Reading, parse
from elman_server.loadgen.window_counts import SentFrame, WindowCounts

PAGE = """\
# TYPE elman_session_steps_total counter
elman_session_steps_total{model="a",version="1"} 30.0
elman_session_steps_total{model="b",version="1"} 12.0
# TYPE elman_batch_rows histogram
elman_batch_rows_bucket{model="a",version="1",le="+Inf"} 6.0
elman_batch_rows_sum{model="a",version="1"} 42.0
elman_batch_rows_count{model="a",version="1"} 6.0
# TYPE elman_launches_total counter
elman_launches_total{model="a",version="1"} 6.0
# TYPE elman_compute_seconds histogram
elman_compute_seconds_bucket{model="a",version="1",le="0.1"} 2.0
elman_compute_seconds_bucket{model="a",version="1",le="0.2"} 6.0
elman_compute_seconds_bucket{model="a",version="1",le="+Inf"} 6.0
elman_compute_seconds_sum{model="a",version="1"} 0.75
elman_compute_seconds_count{model="a",version="1"} 6.0
# TYPE elman_request_seconds histogram
elman_request_seconds_bucket{method="Step",le="0.5"} 101.0
elman_request_seconds_bucket{method="Step",le="+Inf"} 101.0
elman_request_seconds_bucket{method="Infer",le="+Inf"} 7.0
"""


@pytest.mark.parametrize("text", ["1", "16", "uniform:1:16", "geometric:8"])
def test_lengths_are_read_and_written_alike(text: str) -> None:
    assert str(Lengths.parse(text)) == text


@pytest.mark.parametrize("text", ["", "0", "1.5", "uniform:4", "uniform:8:2", "geometric:0.5", "normal:1:2", "a:b"])
def test_lengths_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="lengths: expected"):
        Lengths.parse(text)


@pytest.mark.parametrize("text", ["3", "uniform:1:16", "geometric:8"])
def test_lengths_are_drawn_longest_first_around_their_mean(text: str) -> None:
    lengths = Lengths.parse(text)
    drawn = lengths.sample(np.random.default_rng(0), 4000)
    assert drawn.min() >= 1
    assert (np.diff(drawn) <= 0).all()
    assert drawn.mean() == pytest.approx(lengths.mean, rel=0.1)


def test_frames_hold_each_session_once_a_round_in_the_packed_layout() -> None:
    rng = np.random.default_rng(0)
    frames = make_frames(range(1, 9), 4, Lengths.parse("uniform:1:5"), Shape((3,), 0), rng)
    requests = [inference_pb2.StepRequest.FromString(frame.numbered(300 + i)) for i, frame in enumerate(frames)]
    assert [request.frame_id for request in requests] == list(range(300, 300 + len(frames)))
    for first, second in zip(requests[::2], requests[1::2], strict=True):
        assert sorted([*first.handles, *second.handles]) == list(range(1, 9))
    for frame, request in zip(frames, requests, strict=True):
        assert frame.steps == sum(request.lengths)
        assert wire.from_tensor(request.input).shape == (frame.steps, 3)
        assert list(request.lengths) == sorted(request.lengths, reverse=True)


def test_frames_of_a_token_model_hold_ids() -> None:
    (frame,) = make_frames([5], 1, Lengths.parse("9"), Shape((), 7), np.random.default_rng(0))
    ids = wire.from_tensor(inference_pb2.StepRequest.FromString(frame.numbered(1)).input)
    assert ids.dtype == np.int64
    assert set(ids.tolist()) <= set(range(7))


def test_frames_go_round() -> None:
    frames = make_frames([1, 2], 1, Lengths.parse("1"), Shape((2,), 0), np.random.default_rng(0))
    around = endless(frames)
    assert [next(around) for _ in range(5)] == [*frames, *frames, frames[0]]


def test_a_poisson_process_has_its_rate() -> None:
    times = poisson(200.0, 5.0, np.random.default_rng(0))
    first = [next(times) for _ in range(4000)]
    assert first[0] > 5.0
    assert (first[-1] - 5.0) == pytest.approx(4000 / 200, rel=0.1)


def test_a_metrics_page_is_read_over_all_models() -> None:
    reading = parse(PAGE, cpu_seconds=2.0)
    assert (reading.steps, reading.rows_per_batch, reading.cpu_seconds) == (42.0, 7.0, 2.0)
    assert reading.compute_p50 == pytest.approx(0.125)
    assert reading.frames.quantile(0.99) == pytest.approx(0.495)


def test_readings_are_subtracted_field_by_field() -> None:
    twice = parse(PAGE) + parse(PAGE)
    assert twice - parse(PAGE) == parse(PAGE)
    assert (Reading() - Reading()).rows_per_batch == 0.0


def test_steps_are_counted_only_while_the_window_is_open() -> None:
    counts = WindowCounts()
    sent = SentFrame(due=1.0, rows_left=0, first=1.5)
    for counts.is_open in (False, True, False):
        counts.offered(10)
        counts.came(10)
        counts.ended(sent, False, 2.0)
        counts.ended(sent, True, 2.0)
        counts.dropped()
    outcome = counts.outcome(2.0, Reading(steps=10), 0.5)
    assert (outcome.all_steps, outcome.offered_steps, outcome.done_steps) == (30, 10, 10)
    assert (outcome.done_frames, outcome.refused_frames, outcome.unsent_frames) == (1, 1, 1)
    assert (outcome.goodput, outcome.latency(99), outcome.first_latency(50)) == (5.0, 1.0, 0.5)


def test_seeds_are_joined() -> None:
    counts = WindowCounts(is_open=True)
    counts.came(10)
    counts.ended(SentFrame(0.0, 0, 1.0), False, 1.0)
    one = counts.outcome(1.0, Reading(steps=10), 0.1)
    both = join([one, one])
    assert (both.goodput, both.done_frames, both.server.steps) == (10.0, 2, 20)
