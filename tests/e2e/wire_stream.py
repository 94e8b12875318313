"""A caller on a Step stream: the frames that it sent, and what it was told of them."""

import asyncio
import math
from functools import partial
from typing import Any, cast

import grpc
from expected_sessions import Listener
from google.protobuf.duration_pb2 import Duration
from merged_rows import parts_of
from served import Served
from wire_answers import answer_of

from elman import wire
from elman.v1 import inference_pb2
from elman_server.door.elman_v1.step_stream import StepStream
from elman_server.door.native.merged_frames import MergedFrame
from elman_server.door.native.single_rows import SingleRows
from elman_server.exchange.answers import Answer
from elman_server.exchange.frames import Frame

FIRST_MARK = 1 << 40
"""Above the ids of frames."""


class WireStream(Listener):
    """One stream; on the loop's thread."""

    def __init__(self, call: Any, instance: str, far_end: StepStream) -> None:
        """`far_end`: the server's."""
        super().__init__()
        self._call = call
        self._instance = instance
        self._far_end = far_end
        self._open: dict[int, Frame] = {}
        self._next_mark = FIRST_MARK
        self.num_answered = 0
        """Frames all of whose rows were."""

    @classmethod
    async def begin(cls, served: Served) -> "WireStream":
        """A stream on that connection."""
        streams = served.server._inference._streams
        before = set(streams)
        call = served.inference.Step()
        first = await call.read()
        (far_end,) = set(streams) - before
        return cls(call, first.server_instance, far_end)

    @property
    def waits(self) -> bool:
        """Whether a frame is not answered yet."""
        return bool(self._open)

    def on_result(self, frame: Frame, answer: Answer) -> None:
        super().on_result(frame, answer)
        if not frame.open_rows:
            del self._open[frame.frame_id]
            self.num_answered += 1

    async def send(self, frame: Frame) -> None:
        """Writes a frame."""
        self._open[frame.frame_id] = frame
        request = inference_pb2.StepRequest(
            frame_id=frame.frame_id,
            handles=frame.handles.tolist(),
            lengths=frame.lengths.tolist(),
            positions=[] if frame.positions is None else frame.positions.tolist(),
            input=wire.to_tensor(frame.data),
            return_output=int(frame.want),  # type: ignore[arg-type]
            return_state=frame.want_state,
            timeout=duration(frame.deadline - frame.arrived),
            server_instance=self._instance,
        )
        await self._call.write(request)

    async def catch_up(self) -> None:
        """Reads all that the server has said, once it has read all that was sent: an empty frame is refused at once,
        and in its turn."""
        mark, self._next_mark = self._next_mark, self._next_mark + 1
        await self._call.write(inference_pb2.StepRequest(frame_id=mark))
        while (result := await self._read()).frame_id != mark:
            self._hear(result)
        assert result.HasField("frame_error")

    async def read_frames(self, enough: float = math.inf) -> None:
        """Reads until so many of its frames are answered, or all."""
        while self._open and self.num_answered < enough:
            self._hear(await self._read())

    async def end(self) -> None:
        """Half-closes; what is left is read, and the stream ends well."""
        await self._call.done_writing()
        while (result := await self._call.read()) is not grpc.aio.EOF:
            self._hear(result)
        assert await self._call.code() is grpc.StatusCode.OK
        assert not self.waits, "an answer is missing"

    async def cut(self) -> None:
        """Cancels the stream; returns when the server has let go of it."""
        let_go, gone = self._far_end._let_go, asyncio.Event()
        tell = partial(asyncio.get_running_loop().call_soon_threadsafe, gone.set)
        self._far_end._let_go = lambda: (let_go(), tell())  # type: ignore[method-assign, assignment, func-returns-value]
        self._call.cancel()
        await gone.wait()

    def overhear(self) -> None:
        """From now on notes what the server would say: nobody reads it any more."""
        say = self._far_end.on_result

        def overheard(frame: Frame, answer: Answer) -> None:
            say(frame, answer)
            self.on_result(self._open[frame.frame_id], answer)

        self._far_end.on_result = overheard  # type: ignore[method-assign]
        if self._far_end._single_rows:
            call = cast(Any, self._far_end._call).number
            Overheard.of(self._far_end._single_rows).streams[call] = self

    async def _read(self) -> Any:
        result = await self._call.read()
        assert result is not grpc.aio.EOF, f"the stream ended: {await self._call.code()} {await self._call.details()}"
        return result

    def _hear(self, result: Any) -> None:
        self.on_result(self._open[result.frame_id], answer_of(result))


class Overheard:
    """What the server says of merged frames to streams that nobody reads any more."""

    def __init__(self, single_rows: SingleRows) -> None:
        self.streams: dict[int, WireStream] = {}
        """By call."""
        self._say = single_rows.on_result
        single_rows.on_result = self._on_result  # type: ignore[method-assign]

    @classmethod
    def of(cls, single_rows: SingleRows) -> "Overheard":
        """The one of a server."""
        if "overheard" not in vars(single_rows):
            vars(single_rows)["overheard"] = cls(single_rows)
        return cast(Overheard, vars(single_rows)["overheard"])

    def _on_result(self, frame: Frame, answer: Answer) -> None:
        merged = cast(MergedFrame, frame)
        parts = list(parts_of(merged, answer))
        self._say(frame, answer)
        for row, part in parts:
            stream = self.streams.get(int(merged.columns.calls[row]))
            if stream is not None:
                stream.on_result(stream._open[int(merged.columns.frame_ids[row])], part)


def duration(seconds: float) -> Duration | None:
    """As it is sent; None for none."""
    return None if math.isinf(seconds) else Duration(nanos=round(1e9 * (seconds % 1)), seconds=int(seconds))
