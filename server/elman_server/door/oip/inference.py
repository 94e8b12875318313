"""One inference: a request in the domain's words, its answers put together, and who waits for one of them alone."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from elman_server.door.caller_limits import Charge
from elman_server.door.door import ANONYMOUS
from elman_server.door.infer_result import InferResult
from elman_server.door.oip.parameters import Parameters
from elman_server.door.oip.targets import Target
from elman_server.errors import ServiceError
from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame, Want
from elman_server.exchange.initial import NOTHING_GIVEN, Initial
from elman_server.exchange.sequences import SequenceStep
from elman_server.exchange.served import ModelVersion
from elman_server.exchange.session_calls.calls import Owner
from elman_server.threads.mailbox import LoopCalls

Array = NDArray[Any]


@dataclass(slots=True)
class Part:
    """One answer to a request: the whole of it, or for a decoupled one a slice."""

    outputs: Sequence[tuple[str, Array]] = ()
    """By name, [n, *features] packed: n is steps x rows, or rows."""
    states: tuple[Array, ...] = ()
    """[layers or 1, rows, *features] of each of the model's."""
    position: int = 0
    """The sequence's, after the steps."""
    final: bool = True
    error: ServiceError | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes of the tensors."""
        return sum(array.nbytes for array in (*self.states, *(array for _, array in self.outputs)))


@dataclass(slots=True, eq=False)
class Inference:
    """`frame.handles` is filled in by the engine's thread, where answers are taken, too."""

    id: str
    """The caller's, told back."""
    target: Target
    parameters: Parameters
    names: tuple[str, ...]
    """Of the outputs, in the order of the answer."""
    frame: Frame
    version: str = ""
    """As asked for; empty: any."""
    initial: Initial = NOTHING_GIVEN
    cancelled: bool = False
    """Its caller went away: if it waits still, it is not begun."""
    _ended: bool = field(default=False, init=False)
    _gathered: InferResult | None = field(default=None, init=False)

    @property
    def owner(self) -> Owner:
        """Of its session."""
        return Owner(ANONYMOUS, self.parameters.session_id)

    @property
    def form(self) -> None:
        """It has a frame of its own."""
        return None

    def joined(self, steps: Sequence[SequenceStep]) -> Frame:
        """See `SequenceStep`."""
        return self.frame

    def redirect(self, runtime: ModelVersion) -> None:
        """Has it run on another version of the model, whose tensors are the same."""
        self.target = self.target.of(runtime)

    def take(self, answer: Answer) -> Part | None:
        """One answer of the engine's; what is to be told now, if anything."""
        if self._ended:
            return None
        frame = self.frame
        error = answer.frame_error or (answer.errors[0][1] if answer.errors else None)
        if error is not None:
            self._ended = True
            frame.open_rows = 0
            return Part(error=error)
        frame.open_rows -= len(answer.finished)
        self._ended = not frame.open_rows
        at_once = self._ended or self._sliced
        if self._gathered is None and at_once and answer.rows is None and not self._has_mixed:
            return self._part(answer)
        return self._gather(answer)

    @property
    def _sliced(self) -> bool:
        return self.parameters.decoupled and self.frame.num_rows == 1 and self.frame.want is Want.ALL

    @property
    def _has_mixed(self) -> bool:
        # Outputs of whole sequences beside those of steps, which are put apart when all is there.
        return self.frame.want is Want.ALL and bool(self.frame.view.per_row_outputs)

    def _part(self, answer: Answer) -> Part | None:
        if answer.starts is not None and not self._sliced:
            return self._gather(answer)
        position = int(answer.positions[0]) if self._ended and len(answer.positions) else 0
        return Part(self._outputs(answer.output), answer.states, position, final=self._ended)

    def _outputs(self, output: Array | None) -> list[tuple[str, Array]]:
        if output is None:
            return []
        record = self.frame.view.output.part(self.frame.outputs)
        return list(zip(record.names, record.tensors(output), strict=True))

    def _gather(self, answer: Answer) -> Part | None:
        frame = self.frame
        if self._gathered is None:
            self._gathered = InferResult(frame)
        self._gathered.put(answer, frame.num_rows)
        if not self._ended:
            return None
        done = self._gathered
        return Part(done.outputs(), done.states, int(answer.positions[0]) if len(answer.positions) else 0)


class Call:
    """An asker of one inference: one `ModelInfer`."""

    def __init__(self, future: "asyncio.Future[Part]", loop_calls: LoopCalls, count: Callable[[Part], None]) -> None:
        """`future` gets the whole answer; an error stands in it. `count` is called with it, on the engine's thread."""
        self._future = future
        self._loop_calls = loop_calls
        self._count = count
        self.inference: Inference | None = None
        self.charge: Charge | None = None
        """What counts against its caller until it is answered, whether or not anybody waits for it still."""

    def on_result(self, frame: Frame, answer: Answer) -> None:
        """Takes a part, on the engine's thread; the last one settles the future."""
        part = self.inference.take(answer) if self.inference else None
        if part is None:
            return
        if self.charge:
            self.charge.release()
        self._count(part)
        self._loop_calls.settle(self._future, part)

    def on_bug(self, frame: Frame, error: Exception) -> None:
        """Fails the call."""
        if self.charge:
            self.charge.release()
        self._loop_calls.settle(self._future, error=error)
