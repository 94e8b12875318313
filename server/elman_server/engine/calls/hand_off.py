"""Opening sessions from the state of another one, or from one that is given; on the engine's thread."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from elman_server.errors import InvalidInput
from elman_server.exchange.model_view import TensorField
from elman_server.exchange.served import ModelVersions
from elman_server.exchange.session_calls.calls import OpenMode, OpenResult, Owner
from elman_server.exchange.session_calls.hand_off import HandOff, HandOffRequest
from elman_server.models.directory import SessionDirectory
from elman_server.models.hand_off import handed, maps_of
from elman_server.models.model import seam_tensors
from elman_server.models.runtime import Runtime
from elman_server.threads.clock import Clock
from elman_server.threads.tell import Tell


class HandOffCalls:
    """Into the sessions of one model."""

    def __init__(self, directory: SessionDirectory, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock

    def from_sessions(
        self,
        request: HandOffRequest,
        source: ModelVersions,
        owners: Sequence[Owner],
        hand_off: HandOff,
        tell: Tell[OpenResult],
    ) -> None:
        """See the exchange's `HandOffCalls`."""
        directory = cast(SessionDirectory, source)  # there is no other kind
        places = [directory.find(owner) for owner in owners]
        left = len(places)

        def arrived() -> None:
            nonlocal left
            left -= 1
            if not left:
                tell(lambda: self._open_from(request, directory, owners, hand_off))

        for place in places:
            place.runtime.after_queued(place.slot, arrived)

    def _open_from(
        self, request: HandOffRequest, source: SessionDirectory, owners: Sequence[Owner], hand_off: HandOff
    ) -> OpenResult:
        now = self._clock.now()
        return self._open(request, hand_off, *self._states_of(source, owners, now), now)

    def _states_of(
        self, source: SessionDirectory, owners: Sequence[Owner], now: float
    ) -> tuple[Sequence[TensorField], list[torch.Tensor]]:
        # [layers or 1, K, *features] of each state, on the device.
        places = [source.there(owner) for owner in owners]
        fields = places[0].runtime.view.states
        slots: dict[Runtime, list[int]] = {}
        order: list[tuple[Runtime, int]] = []
        for runtime, slot in places:
            if runtime.view.states != fields:
                raise InvalidInput("hand_off: the sessions run on versions whose states disagree; expected one kind")
            runtime.sessions.used[slot] = now  # so it is not evicted for those that begin from it
            mine = slots.setdefault(runtime, [])
            order.append((runtime, len(mine)))
            mine.append(slot)
        read = {runtime: runtime.pool.read(np.array(mine)).tensors for runtime, mine in slots.items()}
        parts = {runtime: seam_tensors(fields, tensors[: len(fields)]) for runtime, tensors in read.items()}
        if len(parts) == 1:
            return fields, next(iter(parts.values()))
        rows = [[part[:, row : row + 1] for part in parts[runtime]] for runtime, row in order]
        return fields, [torch.cat(of_one, dim=1) for of_one in zip(*rows, strict=True)]

    def from_states(
        self, request: HandOffRequest, fields: Sequence[TensorField], states: Sequence[NDArray[Any]], hand_off: HandOff
    ) -> OpenResult:
        """See the exchange's `HandOffCalls`."""
        return self._open(request, hand_off, fields, [torch.from_numpy(array) for array in states], self._clock.now())

    def _open(
        self,
        request: HandOffRequest,
        hand_off: HandOff,
        fields: Sequence[TensorField],
        tensors: Sequence[torch.Tensor],
        now: float,
    ) -> OpenResult:
        runtime = self._directory.version(request.version)
        if not hand_off.maps and hand_off.model != self._directory.name:
            hand_off = replace(hand_off, maps=maps_of(runtime.stack))
        made = handed(hand_off, fields, tensors, runtime.view.states, len(request.ids))
        opened = self._directory.open(
            request.principal,
            request.ids,
            OpenMode.NEW,
            request.version,
            now,
            request.context,
            runtime=runtime,
            ends_with_stream=request.ends_with_stream,
        )
        begun = [index for index in range(len(request.ids)) if index not in opened.errors]
        if begun:
            places = [self._directory.find(Owner(request.principal, request.ids[index])) for index in begun]
            slots = np.array([place.slot for place in places])
            runtime.take_over(slots, {place: tensor[:, begun] for place, tensor in made.items()})
        return opened
