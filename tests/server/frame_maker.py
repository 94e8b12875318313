"""Frames as the door makes them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_server.exchange.frames import Frame, ResultSink, Want
from elman_server.exchange.model_view import ModelView
from elman_server.threads.clock import Clock


class FrameMaker:
    """Numbers the frames that it makes."""

    def __init__(self, clock: Clock, view: ModelView) -> None:
        self._clock = clock
        self._view = view
        self._next_frame_id = 0

    def frame(
        self,
        handles: Sequence[int],
        data: NDArray[Any],
        lengths: Sequence[int],
        sink: ResultSink,
        *,
        positions: Sequence[int] | None = None,
        want: Want = Want.ALL,
        want_state: bool = False,
        timeout: float = math.inf,
    ) -> Frame:
        """A frame that arrives now; `data` packed."""
        self._next_frame_id += 1
        return Frame(
            frame_id=self._next_frame_id,
            handles=np.array(handles, np.uint64),
            lengths=np.array(lengths, np.int64),
            positions=None if positions is None else np.array(positions, np.int64),
            view=self._view,
            data=data,
            want=want,
            want_state=want_state,
            deadline=self._clock.now() + timeout,
            sink=sink,
            arrived=self._clock.now(),
            open_rows=len(lengths),
        )
