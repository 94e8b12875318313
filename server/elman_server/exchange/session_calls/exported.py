"""What an exported session holds, whatever it travels as."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman_server.errors import OtherState
from elman_server.exchange.initial import Initial
from elman_server.exchange.model_view import ModelView

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Exported:
    """One session, as it was."""

    model: str
    version: str
    fingerprint: str
    """Of the model's spec and weights."""
    session_id: str
    position: int
    states: Mapping[str, Array]
    """[1, *features], or [layers, 1, *features] of a stack, by name."""
    context: Mapping[str, Array]
    """[1, *features] by name."""

    def initial(self, view: ModelView) -> Initial:
        """What a session of that model begins with, to go on where this one was.

        Raises:
            OtherState: the names are others than the model's.
        """
        names = [one.name for one in view.states]
        if set(names) != set(self.states):
            raise OtherState(f"the export has the states {sorted(self.states)}, and the model's are {sorted(names)}")
        arrays = [self.states[name] for name in names]
        pairs = zip(view.states, arrays, strict=True)
        return Initial(tuple(a if one.layers else a[np.newaxis] for one, a in pairs), self.context)
