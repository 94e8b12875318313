"""What an open session says of itself without a call, for threads and coroutines alike."""

from __future__ import annotations

from elman._session_cores import SessionCore
from elman._shared.info import ModelInfo


class OpenSession:
    """Its name, what it runs on, and where it is."""

    def __init__(self, core: SessionCore) -> None:
        self._core = core

    def __repr__(self) -> str:
        return self._core.repr_of(type(self).__name__)

    @property
    def id(self) -> str:
        """Its durable name, by which it can be resumed until it expires."""
        return self._core.id

    @property
    def model_info(self) -> ModelInfo:
        """The model version that it runs on."""
        return self._core.info

    @property
    def resumed(self) -> bool:
        """Whether it existed when it was opened, at whatever position; False: it began then, at position 0."""
        return self._core.resumed

    @property
    def position(self) -> int:
        """Time steps consumed, those under way included."""
        return self._core.position
