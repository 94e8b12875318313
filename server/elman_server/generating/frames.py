"""Frames of what is generated: rows like any other's."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_server.exchange.frames import Frame, ResultSink, Want
from elman_server.exchange.model_view import ModelView

Array = NDArray[Any]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]


def frame_of(
    view: ModelView, outputs: int, handles: U64, positions: I64, data: Array, now: float, sink: ResultSink
) -> Frame:
    """One row for each handle, of as many steps each as `data`, packed, has for them; the last output comes back."""
    rows = len(handles)
    return Frame(
        frame_id=0,
        handles=handles,
        lengths=np.full(rows, len(data) // rows, np.int64),
        positions=positions,
        view=view,
        data=data,
        want=Want.LAST,
        want_state=False,
        deadline=math.inf,
        sink=sink,
        arrived=now,
        outputs=outputs,
        open_rows=rows,
    )
