"""A Step stream as a caller sees it: frames out, results put together and counted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from refusals import Refusal
from toys import Array, pack_rows

from elman import wire
from elman.v1 import inference_pb2, tensor_pb2

ALL, LAST, NONE = tensor_pb2.RETURN_ALL, tensor_pb2.RETURN_LAST, tensor_pb2.RETURN_NONE


def make_frame(frame_id: int, handles: Sequence[int], rows: Sequence[Array], **fields: Any) -> Any:
    """A frame of rows [T_k, *features], longest first."""
    return inference_pb2.StepRequest(
        frame_id=frame_id,
        handles=handles,
        lengths=[len(row) for row in rows],
        input=wire.to_tensor(pack_rows(list(rows))),
        **fields,
    )


@dataclass
class Ended:
    """What became of one row."""

    steps: list[Array] = field(default_factory=list)  # outputs, one by one
    position: int | None = None
    error: Refusal | None = None
    h_n: Array | None = None
    c_n: Array | None = None

    @property
    def output(self) -> Array:
        return np.stack(self.steps)

    @property
    def is_over(self) -> bool:
        return self.position is not None or self.error is not None


class Ask:
    """One frame's answer so far."""

    def __init__(self, num_rows: int, want: int) -> None:
        self.rows = [Ended() for _ in range(num_rows)]
        self.want = want
        self.refusal: Refusal | None = None

    @property
    def is_over(self) -> bool:
        return self.refusal is not None or (bool(self.rows) and all(row.is_over for row in self.rows))

    def put(self, result: Any) -> None:
        """Takes in one result, checking that no row ends twice and every step comes in order."""
        assert not self.is_over, "an answer after the last one"
        if result.HasField("frame_error"):
            assert not any(row.is_over or row.steps for row in self.rows)
            self.refusal = Refusal.of(result.frame_error)
            return
        for error in result.errors:
            assert not self.rows[error.row].is_over
            self.rows[error.row].error = Refusal.of(error.status)
        self._put_steps(result)

    def _put_steps(self, result: Any) -> None:
        lengths = list(result.lengths)
        rows = list(result.rows) or list(range(len(lengths)))
        starts = list(result.starts) or [0] * len(rows)
        assert lengths == sorted(lengths, reverse=True)
        assert len(rows) == len(lengths) == len(starts)
        if lengths and self.want == ALL:
            elements = iter(wire.from_tensor(result.output))
            for row, start in zip(rows, starts, strict=True):
                assert len(self.rows[row].steps) == start
            for t in range(lengths[0]):
                for row, length in zip(rows, lengths, strict=True):
                    if t < length:
                        self.rows[row].steps.append(next(elements))
            assert next(elements, None) is None
        if self.want == NONE:
            assert not result.HasField("output")
        self._put_finished(result, rows)

    def _put_finished(self, result: Any, rows: list[int]) -> None:
        finished = list(result.finished)
        assert [row for row in rows if row in finished] == finished
        h_n = wire.from_tensor(result.h_n) if result.HasField("h_n") else None
        c_n = wire.from_tensor(result.c_n) if result.HasField("c_n") else None
        last = wire.from_tensor(result.output) if self.want == LAST and finished else None
        for i, (row, position) in enumerate(zip(finished, result.positions, strict=True)):
            ended = self.rows[row]
            assert not ended.is_over
            ended.position = position
            ended.h_n = None if h_n is None else h_n[:, i]
            ended.c_n = None if c_n is None else c_n[:, i]
            if last is not None:
                ended.steps.append(last[i])


class Stepper:
    """A Step stream; results go to the frames that they answer."""

    def __init__(self, call: Any, instance: str) -> None:
        self.call = call
        self.instance = instance
        self.asks: dict[int, Ask] = {}
        self._next_id = 1

    @classmethod
    async def begin(cls, inference: Any) -> "Stepper":
        call = inference.Step()
        first = await call.read()
        assert first.server_instance
        return cls(call, first.server_instance)

    async def send(self, handles: Sequence[int], rows: Sequence[Array], **fields: Any) -> Ask:
        """Sends a frame of rows, longest first; it is answered by `finish`."""
        return await self.send_raw(make_frame(self._next_id, handles, rows, **fields))

    async def send_raw(self, request: Any) -> Ask:
        """Sends any frame."""
        self._next_id = max(self._next_id, request.frame_id) + 1
        ask = Ask(len(request.handles), request.return_output or ALL)
        self.asks[request.frame_id] = ask
        await self.call.write(request)
        return ask

    async def read(self) -> bool:
        """Takes in one result; False at the stream's end."""
        result = await self.call.read()
        if result is grpc.aio.EOF:
            return False
        self.asks[result.frame_id].put(result)
        return True

    async def finish(self, ask: Ask) -> Ask:
        """Reads until the frame is over."""
        while not ask.is_over:
            assert await self.read(), f"the stream ended: {await self.call.code()} {await self.call.details()}"
        return ask

    async def ask(self, handles: Sequence[int], rows: Sequence[Array], **fields: Any) -> Ask:
        """Sends a frame and reads its whole answer."""
        return await self.finish(await self.send(handles, rows, **fields))

    async def ask_raw(self, request: Any) -> Ask:
        return await self.finish(await self.send_raw(request))

    async def end(self) -> grpc.StatusCode:
        """Half-closes, reads what is left; how the stream ended."""
        await self.call.done_writing()
        while await self.read():
            pass
        return await self.call.code()
