"""Single steps of sequences, of one stream or of many: those of one form that came together are one frame."""

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from elman_server.door.door import ANONYMOUS, Door
from elman_server.door.oip.forms import StepForm
from elman_server.door.oip.parameters import Parameters
from elman_server.door.oip.targets import Target
from elman_server.errors import ServiceError
from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame, FramePart
from elman_server.exchange.initial import NOTHING_GIVEN, Initial
from elman_server.exchange.sequences import SequenceStep
from elman_server.exchange.served import ModelVersion
from elman_server.exchange.session_calls.calls import Owner

F64 = NDArray[np.float64]
U64 = NDArray[np.uint64]
METHOD = "ModelStreamInfer"
_NO_HANDLES = np.empty(0, np.uint64)


class Asker(Protocol):
    """Who waits for steps."""

    def take(self, step: "SingleStep", raw: bytes) -> None:
        """A step's output."""
        ...

    def refuse(self, step: "SingleStep", error: ServiceError) -> None:
        """Why a step failed."""
        ...

    def on_bug(self, frame: Frame, error: Exception) -> None:
        """Taking an answer raised that."""
        ...

    @property
    def answers(self) -> "StepAnswers":
        """Who hands them over."""
        ...


@dataclass(slots=True, eq=False)
class SingleStep:
    """One request. It is a row of a frame, its own if none was made with others."""

    id: str
    """The caller's, told back."""
    form: StepForm
    parameters: Parameters
    raw: bytes
    """The input."""
    asker: Asker
    arrived: float
    """Seconds on the engine's clock."""
    row: int = 0
    """Of the frame."""
    cancelled: bool = False
    """Its caller went away: if it waits still, it is not begun."""
    _frame: "StepsFrame | None" = None

    @property
    def target(self) -> Target:
        """What it runs on."""
        return self.form.target

    @property
    def version(self) -> str:
        """As asked for; empty: any."""
        return self.form.version

    @property
    def owner(self) -> Owner:
        """Of its session."""
        return Owner(ANONYMOUS, self.parameters.session_id)

    @property
    def initial(self) -> Initial:
        """Steps begin with nothing."""
        return NOTHING_GIVEN

    @property
    def frame(self) -> "StepsFrame":
        """Where its row is."""
        return self._frame or self.joined([self])

    @property
    def is_joined(self) -> bool:
        """Whether it has a frame."""
        return self._frame is not None

    @property
    def part(self) -> FramePart:
        """Its row."""
        return FramePart(self.frame, np.array([self.row]))

    def redirect(self, runtime: ModelVersion) -> None:
        """Has it run on another version of the model, whose tensors are the same."""
        self.form = self.form.on(self.target.of(runtime))

    def joined(self, steps: Sequence[SequenceStep]) -> "StepsFrame":
        """One frame of steps of its form, itself among them."""
        mine = cast("Sequence[SingleStep]", steps)
        view = self.target.runtime.view
        frame = StepsFrame(
            frame_id=0,
            handles=_NO_HANDLES,
            lengths=np.ones(len(mine), np.int64),
            positions=None,
            view=view,
            data=view.input.from_bytes(b"".join([step.raw for step in mine]), len(mine)),
            want=self.form.want,
            want_state=False,
            deadline=math.inf,  # each row has its own
            sink=self.asker.answers,
            arrived=mine[0].arrived,
            open_rows=len(mine),
            steps=mine,
            askers=np.array([id(step.asker) for step in mine], np.uint64),
            row_deadlines=np.array([step.parameters.deadline(step.arrived) for step in mine]),
        )
        for row, step in enumerate(mine):
            step.row, step._frame = row, frame
        return frame


@dataclass(slots=True, eq=False)
class StepsFrame(Frame):
    """One frame of the engine's, made of K steps."""

    steps: Sequence[SingleStep] = field(kw_only=True)
    askers: U64 = field(kw_only=True)
    """[K] whose each row is."""
    row_deadlines: F64 = field(kw_only=True)
    """[K] seconds on the engine's clock."""

    @property
    def owners(self) -> U64:
        """[K] whose each row is."""
        return self.askers

    @property
    def deadlines(self) -> F64:
        """[K] each row's deadline."""
        return self.row_deadlines


class StepAnswers:
    """Each row's answer goes to its asker."""

    def __init__(self, door: Door) -> None:
        self._clock = door.engine.clock
        self._metrics = door.metrics
        self._together = door.read_ahead.together if door.read_ahead else nullcontext

    def on_result(self, frame: Frame, answer: Answer) -> None:
        """Takes an answer of the engine's: a row's is there at once, and whole."""
        steps = cast(StepsFrame, frame).steps
        if answer.frame_error is not None:
            for step in steps:
                step.asker.refuse(step, answer.frame_error)
        for row, error in answer.errors:
            steps[row].asker.refuse(steps[row], error)
        rows = answer.finished.tolist()
        if rows:
            with self._together():
                for row, raw in zip(rows, _outputs(answer, len(rows)), strict=True):
                    steps[row].asker.take(steps[row], raw)
            seconds = self._clock.now() - frame.arrived
            self._metrics.requests_of_one_arrival(METHOD, "OK", seconds, len(rows))
            steps[0].target.requests.count(seconds, failed=False, times=len(rows))

    def on_bug(self, frame: Frame, error: Exception) -> None:
        """Ends the streams of all its rows."""
        for asker in {step.asker for step in cast(StepsFrame, frame).steps}:
            asker.on_bug(frame, error)


def _outputs(answer: Answer, num_rows: int) -> Iterator[bytes]:
    # Of each row, a step.
    raw = answer.output.tobytes() if answer.output is not None else b""
    size = len(raw) // num_rows
    return (raw[at : at + size] for at in range(0, len(raw), size))
