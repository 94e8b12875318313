"""One inference: a request in the domain's words, and its answers put together."""

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from elman_models.state import State
from elman_server.door.door import ANONYMOUS
from elman_server.door.infer_result import InferResult
from elman_server.door.oip.parameters import Parameters
from elman_server.door.oip.targets import Target
from elman_server.errors import ServiceError
from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame, Want
from elman_server.sessions.table import Owner

Array = NDArray[Any]


@dataclass(slots=True)
class Part:
    """One answer to a request: the whole of it, or for a decoupled one a slice."""

    output: Array | None = None
    """[n, output_size] packed: n is steps x rows."""
    h_n: Array | None = None
    c_n: Array | None = None
    position: int = 0
    """The sequence's, after the steps."""
    final: bool = True
    error: ServiceError | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes of the tensors."""
        return sum(a.nbytes for a in (self.output, self.h_n, self.c_n) if a is not None)


@dataclass(slots=True, eq=False)
class Inference:
    """`frame.handles` is filled in by the engine's thread; answers are taken on the loop's."""

    id: str
    """The caller's, told back."""
    target: Target
    parameters: Parameters
    names: tuple[str, ...]
    """Of the outputs, in the order of the answer."""
    frame: Frame
    version: str = ""
    """As asked for; empty: any."""
    initial: State | None = None
    """[state_layers, B, ...] or zeros."""
    cancelled: bool = False
    """Its caller went away: if it waits still, it is not begun."""
    _ended: bool = field(default=False, init=False)
    _gathered: InferResult | None = field(default=None, init=False)

    @property
    def owner(self) -> Owner:
        """Of its session."""
        return Owner(ANONYMOUS, self.parameters.session_id)

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
        if self._gathered is None and (self._ended or self._sliced) and answer.rows is None:
            return self._part(answer)
        return self._gather(answer)

    @property
    def _sliced(self) -> bool:
        return self.parameters.decoupled and self.frame.num_rows == 1 and self.frame.want is Want.ALL

    def _part(self, answer: Answer) -> Part | None:
        if answer.starts is not None and not self._sliced:
            return self._gather(answer)
        position = int(answer.positions[0]) if self._ended and len(answer.positions) else 0
        return Part(answer.output, answer.h_n, answer.c_n, position, final=self._ended)

    def _gather(self, answer: Answer) -> Part | None:
        frame = self.frame
        if self._gathered is None:
            spec = self.target.runtime.spec
            self._gathered = InferResult(frame.lengths, frame.want, frame.want_state, spec)
        self._gathered.put(answer, frame.num_rows)
        if not self._ended:
            return None
        done = self._gathered
        return Part(done.output, done.h_n, done.c_n, int(answer.positions[0]) if len(answer.positions) else 0)
