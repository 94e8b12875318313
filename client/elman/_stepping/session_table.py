"""What the client knows of its sessions, in columns: a session is a number here, so that frames cost no loops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from elman._shared.errors import ElmanError
from elman._shared.packed_layout import Index

_FIRST_SIZE = 64
NO_SERVER = -1


class SessionTable:
    """Columns by session number; only the event loop's thread touches them."""

    def __init__(self) -> None:
        self.handles = np.zeros(_FIRST_SIZE, np.uint64)
        self.begins = np.zeros(_FIRST_SIZE, np.int64)  # where the next chunk begins, in time steps
        self.epochs = np.zeros(_FIRST_SIZE, np.int64)  # failures so far: chunks of an earlier epoch are void
        self.in_flight = np.zeros(_FIRST_SIZE, np.int64)  # chunks sent and not answered
        self.pending = np.zeros(_FIRST_SIZE, np.int64)  # chunks submitted and not ended
        self.windows = np.ones(_FIRST_SIZE, np.int64)  # most chunks in flight
        self.servers = np.full(_FIRST_SIZE, NO_SERVER, np.int64)  # which server process the handle is of
        self.attached_on = np.zeros(_FIRST_SIZE, np.int64)  # the connection on which it was attached
        self.position_unknown = np.zeros(_FIRST_SIZE, np.bool_)  # begins is a guess: ask when attaching
        self.ids: list[str] = [""] * _FIRST_SIZE
        self.models: list[str] = [""] * _FIRST_SIZE
        self._free = list(range(_FIRST_SIZE))
        self._servers: dict[str, int] = {}

    def server_number(self, instance: str) -> int:
        """A small number for a `server_instance`."""
        return self._servers.setdefault(instance, len(self._servers))

    def add(self, model: str, ids: Sequence[str], windows: int) -> Index:
        """Numbers for new sessions."""
        while len(self._free) < len(ids):
            self._grow()
        numbers = [self._free.pop() for _ in ids]
        for number, session_id in zip(numbers, ids, strict=True):
            self.ids[number] = session_id
            self.models[number] = model
        rows = np.asarray(numbers, np.intp)
        self.windows[rows] = max(windows, 1)
        self.in_flight[rows] = 0
        self.pending[rows] = 0
        self.position_unknown[rows] = False
        return rows

    def attach(self, rows: Index, handles: npt.ArrayLike, server: int, connection: int) -> None:
        """New handles for sessions."""
        self.handles[rows] = handles
        self.servers[rows] = server
        self.attached_on[rows] = connection

    def release(self, rows: Index) -> None:
        """Forgets sessions. A late answer finds another epoch."""
        self.epochs[rows] += 1
        self.servers[rows] = NO_SERVER
        self._free.extend(rows.tolist())

    def rewind(self, rows: Index, position: int) -> None:
        """Sessions went back to a position: the next chunk begins there, and those submitted meanwhile are void."""
        self.epochs[rows] += 1
        self.begins[rows] = position

    def fail(self, row: int, begin: int, epoch: int, error: ElmanError) -> None:
        """A chunk that began at `begin` failed: later ones are void, and the next begins where the session is."""
        if self.epochs[row] != epoch:
            return  # void already: the failure before this one set things right
        if error.details.reason == "ANSWER_GONE" and self.in_flight[row]:
            return  # it was applied, and so may be those behind it
        told = error.details.metadata.get("position", "")
        self.epochs[row] += 1
        self.begins[row] = int(told) if told.isdecimal() else begin

    def _grow(self) -> None:
        size = len(self.ids)
        self._free.extend(range(size, 2 * size))
        self.ids.extend([""] * size)
        self.models.extend([""] * size)
        self.handles = _doubled(self.handles)
        self.begins = _doubled(self.begins)
        self.epochs = _doubled(self.epochs)
        self.in_flight = _doubled(self.in_flight)
        self.pending = _doubled(self.pending)
        self.windows = _doubled(self.windows)
        self.servers = _doubled(self.servers)
        self.attached_on = _doubled(self.attached_on)
        self.position_unknown = _doubled(self.position_unknown)


def _doubled(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.concatenate((column, np.zeros_like(column)))
