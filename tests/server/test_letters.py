"""Letters: what is read and answered without arrays is what the general way reads and answers."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from elman.v1 import inference_pb2 as pb
from elman.v1 import tensor_pb2
from elman_models.layout import step_offsets
from elman_server.answers import Answer, StepAnswer
from elman_server.arrivals import Arrivals
from elman_server.delivery import Delivery
from elman_server.errors import InvalidInput
from elman_server.frames import Frame, Letter, PackedFrame, Want
from elman_server.input_spec import InputSpec
from elman_server.pages import Page
from elman_server.reading import read_frame, read_handles, read_letter
from elman_server.writing import write_answer

FLOATS = InputSpec((2,), np.dtype(np.float32), tensor_pb2.DATA_TYPE_F32, 0, 8)
IDS = InputSpec((), np.dtype(np.int64), tensor_pb2.DATA_TYPE_I64, 9, 8)
U64 = st.integers(0, 2**64 - 1)
OUTPUT_SIZE = 3


class Nobody:
    def deliver(self, frame: Frame, answer: Answer | StepAnswer) -> None: ...


NOBODY = Nobody()


@st.composite
def requests(draw: st.DrawFn, spec: InputSpec) -> pb.StepRequest:
    """Of one row: good ones, and some with one thing wrong or two."""
    good = st.integers(0, 9).map(bool)
    length = draw(st.integers(0, 3))
    position = st.integers(0, 2**62 - 1) if draw(st.integers(0, 3)) else st.integers(2**62 - 1, 2**64 - 1)
    shape = [length, *spec.features]
    request = pb.StepRequest(
        frame_id=draw(U64),
        handles=[draw(U64)],
        lengths=[length] if draw(good) else draw(st.lists(st.integers(0, 2**32 - 1), max_size=2)),
        positions=draw(st.lists(position, max_size=1 if draw(good) else 2)),
        return_output=draw(st.integers(0, 4)),  # type: ignore[arg-type]
        return_state=draw(st.booleans()),
    )
    request.input.dtype = spec.wire_dtype if draw(good) else draw(st.integers(0, 5))  # type: ignore[assignment]
    request.input.shape.extend(shape if draw(good) else draw(st.lists(st.integers(-1, 4), max_size=3)))
    request.input.data = draw(st.binary(min_size=8 * length, max_size=8 * length + (0 if draw(good) else 9)))
    if draw(st.booleans()):
        request.timeout.seconds = draw(st.integers(-1, 5))
    return request


@pytest.mark.parametrize("spec", [FLOATS, IDS], ids=["floats", "ids"])
@given(data=st.data())
def test_a_letter_says_what_the_frame_says_and_what_is_no_frame_is_no_letter(
    spec: InputSpec, data: st.DataObject
) -> None:
    request = data.draw(requests(spec))
    frame = outcome(lambda: read_frame(request, read_handles(request), spec, NOBODY, 1.0))
    letter = outcome(lambda: read_letter(request, spec, NOBODY, 1.0))
    if isinstance(frame, PackedFrame):
        assert isinstance(letter, Letter)
        assert_same_frame(letter, frame)
    else:
        assert letter in (None, frame)


@given(st.lists(requests(FLOATS), min_size=1, max_size=6), st.booleans())
def test_letters_arrive_as_frames_do(some: list[pb.StepRequest], mixed: bool) -> None:
    letters = []
    for request in some:
        request.input.dtype = FLOATS.wire_dtype  # type: ignore[assignment]
        request.ClearField("timeout")
        letter = read_letter(request, FLOATS, NOBODY, 1.0)
        letters += [letter] if letter else []
    assume(letters)
    packed = [as_packed(letter) for letter in letters]
    ours = Arrivals([*packed[:1], *letters[1:]] if mixed else letters)
    theirs = Arrivals(packed)
    assert np.array_equal(ours.table, theirs.table)
    for name in ("handles", "lengths", "_positions", "data"):
        mine, want = getattr(ours, name), getattr(theirs, name)
        assert mine.dtype == want.dtype
        assert np.array_equal(mine, want, equal_nan=name == "data")


@given(st.integers(1, 4), st.data())
def test_a_step_is_answered_as_a_row_of_its_page_is(rows: int, data: st.DataObject) -> None:
    page = page_of(rows, data)
    steps = page.steps()
    assert steps is not None
    for i, step in enumerate(steps):
        for want in (Want.ALL, Want.LAST):
            plain = write_answer(7, page.cut_row(i, want, want_state=False))
            assert write_answer(7, step).SerializeToString() == plain.SerializeToString()


@pytest.mark.parametrize("change", ["starts", "finished", "longer", "silent"])
def test_a_page_with_anything_but_whole_single_steps_is_cut(change: str) -> None:
    page = page_of(2)
    if change == "starts":
        page.starts[1] = 1
    elif change == "finished":
        page.finished[1] = False
    elif change == "longer":
        page.takes[0], page.offsets = 2, step_offsets(np.array([2, 1]))
    else:
        page.output = None
    assert page.steps() is None


async def test_each_frame_of_a_page_is_told_its_own() -> None:
    """Letters that want a state, or nothing, and frames between them are cut from the page."""
    import asyncio

    told: list[tuple[int, Answer | StepAnswer]] = []

    class Listener:
        def deliver(self, frame: Frame, answer: Answer | StepAnswer) -> None:
            told.append((frame.frame_id, answer))

    def letter(number: int, want: Want = Want.ALL, *, want_state: bool = False) -> Letter:
        raw = bytes(FLOATS.num_bytes)
        return Letter(number, 1, 1, -1, raw, FLOATS, want, want_state, math.inf, Listener(), 0.0)

    packed = as_packed(letter(9))
    packed.lengths = np.ones(2, np.int64)
    frames = [letter(1), packed, letter(2, want_state=True), letter(3, Want.NONE), packed]
    page = page_of(5)
    page.h_n = np.arange(5, dtype=np.float32).reshape(1, 5, 1)
    delivery = Delivery(asyncio.get_running_loop(), pytest.fail)
    delivery.spread(page, frames, np.array([0, 1, 0, 0, 0]))
    delivery.deliver()
    answers = dict(told)
    assert len(told) == 4
    assert isinstance(answers[1], StepAnswer)
    state, nothing, pair = answers[2], answers[3], answers[9]
    assert isinstance(state, Answer)
    assert isinstance(nothing, Answer)
    assert isinstance(pair, Answer)
    assert state.h_n is not None
    assert state.h_n.tolist() == [[[2.0]]]
    assert nothing.output is None
    assert pair.rows is not None
    assert pair.rows.tolist() == [1, 0]


def outcome(read: Callable[[], Letter | PackedFrame | None]) -> Letter | PackedFrame | str | None:
    """What was read, or the message of the error."""
    try:
        return read()
    except InvalidInput as error:
        return error.message


def assert_same_frame(letter: Letter, frame: PackedFrame) -> None:
    for name in ("frame_id", "want", "want_state", "deadline", "arrived", "open_rows", "kind"):
        assert getattr(letter, name) == getattr(frame, name), name
    for name in ("num_rows", "num_steps", "num_bytes", "longest"):
        assert getattr(letter, name) == getattr(frame, name), name
    for name in ("handles", "lengths", "positions", "data"):
        mine, want = getattr(letter, name), getattr(frame, name)
        assert (mine is None) == (want is None), name
        assert want is None or (mine.dtype == want.dtype and mine.tobytes() == want.tobytes()), name


def as_packed(letter: Letter) -> PackedFrame:
    return PackedFrame(
        letter.frame_id,
        letter.handles,
        letter.lengths,
        letter.positions,
        letter.data,
        letter.want,
        letter.want_state,
        letter.deadline,
        letter.asker,
        letter.arrived,
        1,
    )


def page_of(rows: int, data: st.DataObject | None = None) -> Page:
    """Of single steps, each a whole chunk."""
    output = np.ones((rows, OUTPUT_SIZE), np.float32)
    positions = np.arange(rows) + 1
    if data:
        output = data.draw(arrays(np.float32, (rows, OUTPUT_SIZE)))
        positions = data.draw(arrays(np.int64, rows, elements=st.integers(1, 2**62)))
    ones, none = np.ones(rows, np.int64), np.full(rows, -1)
    return Page(np.zeros(rows, np.int64), ones, np.zeros(1, np.int64), np.ones(rows, np.bool_), positions, output,
                None, None, none, none)  # fmt: skip
