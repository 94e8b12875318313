"""A running server as a machine's engine: what is done and seen goes through sockets; a stepper holds its engine."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import grpc
import numpy as np
from call import Call
from expected_sessions import Listener, Received
from frame_maker import FrameMaker
from generating import Generated
from held_server import HeldServer
from later import Later
from stepped_engine import assert_nothing_left
from toys import Array, Toy, pack_rows
from wire_answers import error_of_call, errors_of, received_of_error, received_of_infer, session_view_of
from wire_stream import WireStream, duration

from elman import wire
from elman.v1 import inference_pb2, sessions_pb2
from elman_models import State
from elman_server.errors import PositionAhead
from elman_server.exchange.frames import Frame
from elman_server.exchange.session_calls.calls import Closed, OpenMode, OpenResult, SessionView
from elman_server.exchange.slices import slices_of
from elman_server.models.view import view_of

T = TypeVar("T")
FAR_AHEAD = 1 << 60
PAGE_SIZE = 3


class WireEngine:
    """One example on a held server, with session ids of its own."""

    def __init__(self, held_server: HeldServer, toy: Toy) -> None:
        self._prefix = held_server.begin_example()
        self._held_server = held_server
        self._stepper = held_server.engine_stepper
        self._model = toy.spec.name
        self._zero = np.zeros((1, *toy.spec.input_features), np.int64 if toy.spec.embedding else np.float32)
        self._runtime = held_server.connection(0).runtime(self._model)
        self._streams: list[WireStream] = []
        self._is_free = False
        self.clock = held_server.clock
        self.frame = FrameMaker(self.clock, view_of(toy.spec)).frame
        self._prober = self.listener()

    # Callers, each on a stream.

    def listener(self) -> WireStream:
        """A new caller."""
        stream = self._held_server.do(WireStream.begin(self._held_server.connection(len(self._streams))))
        self._streams.append(stream)
        return stream

    def submit(self, frame: Frame) -> Frame:
        """Sends it; it has arrived when the engine is held, and is on its way when it runs free."""
        assert isinstance(frame.sink, WireStream)
        self._held_server.do(self._send(frame.sink, frame))
        return frame

    def wait_for(self, listener: Listener) -> None:
        """The caller reads until all that it asked is answered."""
        assert isinstance(listener, WireStream)
        self._held_server.do(listener.read_frames())

    def go_away(self, listener: Listener) -> None:
        """A caller cuts its stream; what it would have been told is overheard."""
        assert isinstance(listener, WireStream)
        listener.overhear()
        self.cut(listener)
        self.take_in()

    def cut(self, listener: Listener, answered: int = 0) -> None:
        """A caller reads so many more frames' answers and cuts its stream; returns when the server has noticed."""
        assert isinstance(listener, WireStream)
        listener.gone = True
        self._held_server.do(listener.read_frames(listener.num_answered + answered))
        self._held_server.do(listener.cut())
        self._streams.remove(listener)

    def any_good(self, handles: Sequence[int]) -> bool:
        """Whether one of the handles is good: it alone would be told that a chunk far ahead is ahead."""
        if not handles:
            return False
        count = len(handles)
        data, ahead = np.concatenate([self._zero] * count), [FAR_AHEAD] * count
        self.submit(self.frame(handles, data, [1] * count, self._prober, positions=ahead))
        self.take_in()
        assert not self._prober.waits
        told, self._prober.told = self._prober.told, []
        return any(isinstance(error, PositionAhead) for _, answer in told for _, error in answer.errors)

    # Calls.

    def open(self, *ids: str, mode: OpenMode) -> OpenResult:
        """Opens or resumes sessions."""
        request = sessions_pb2.OpenSessionsRequest(model=self._model, session_ids=self._full(ids), mode=int(mode))  # type: ignore[arg-type]
        return _opened(ids, self._ask(self._held_server.connection(0).sessions.OpenSessions, request).now())

    def attach(self, *ids: str) -> OpenResult:
        """Attaches sessions again."""
        request = sessions_pb2.AttachSessionsRequest(model=self._model, session_ids=self._full(ids))
        return _opened(ids, self._ask(self._held_server.connection(1).sessions.AttachSessions, request).now())

    def close(self, *ids: str) -> Later[Closed]:
        """Ends sessions, each after its queued chunks."""

        async def close(request: object) -> Closed:
            response = await self._held_server.connection(0).sessions.CloseSessions(request)
            return Closed(list(response.positions), errors_of(response))

        request = sessions_pb2.CloseSessionsRequest(model=self._model, session_ids=self._full(ids))
        return self._ask(close, request, num_asked=len(list(slices_of(ids))))

    def describe(self, session_id: str) -> Later[SessionView]:
        """A session with its state, after its queued chunks."""

        async def describe(request: object) -> SessionView:
            return session_view_of(await self._held_server.connection(1).sessions.DescribeSession(request))

        (full,) = self._full([session_id])
        request = sessions_pb2.DescribeSessionRequest(model=self._model, session_id=full, return_state=True)
        return self._ask(describe, request, num_asked=1)

    def mark(self, session_id: str, name: str) -> int:
        """Marks a session that has nothing queued; its position."""
        (full,) = self._full([session_id])
        request = sessions_pb2.MarkSessionRequest(model=self._model, session_id=full, mark=name)
        return int(self._ask(self._held_server.connection(1).sessions.MarkSession, request).now().position)

    def rewind(self, session_id: str, name: str) -> int:
        """Returns such a session to a mark; its position."""
        (full,) = self._full([session_id])
        request = sessions_pb2.RewindSessionRequest(model=self._model, session_id=full, mark=name)
        return int(self._ask(self._held_server.connection(1).sessions.RewindSession, request).now().position)

    def set_state(self, session_id: str, state: State | None) -> int:
        """Puts a state in place of that of such a session; None: what the model begins with. Its position."""
        (full,) = self._full([session_id])
        request = sessions_pb2.SetSessionStateRequest(model=self._model, session_id=full, reset=state is None)
        if state:
            wire.fill_tensor(request.h_n, state.h.numpy())
        if state and state.c is not None:
            wire.fill_tensor(request.c_n, state.c.numpy())
        return int(self._ask(self._held_server.connection(1).sessions.SetSessionState, request).now().position)

    def generate(self, request: Any, cut: int | None) -> Generated:
        """Has such a session generate, to its end, or to a cut and then the rest; the engine runs free meanwhile."""
        self.let_go()
        (request.session_id,) = self._full([request.session_id])
        generated = Generated()
        if cut is not None:
            self._held_server.do(self._read_generated(request, generated, cut))
        if not generated.error:
            request.told = len(generated.steps)
            self._held_server.do(self._read_generated(request, generated, math.inf))
        self.hold()
        return generated

    async def _read_generated(self, request: Any, generated: Generated, enough: float) -> None:
        # Adds what comes, to the end, or until there are so many steps.
        call = self._held_server.connection(1).inference.Generate(request)
        try:
            while len(generated.steps) < enough and (response := await call.read()) is not grpc.aio.EOF:
                if response.HasField("steps"):
                    generated.add(wire.from_tensor(response.steps, name="steps"), response.log_probs)
        except grpc.aio.AioRpcError as error:
            generated.error = error_of_call(error)
        call.cancel()

    def fork(self, session_id: str, other: str) -> OpenResult:
        """Begins another session where such a session is."""
        full, new = self._full([session_id, other])
        request = sessions_pb2.ForkSessionRequest(model=self._model, session_id=full, session_ids=[new])
        return _opened([other], self._ask(self._held_server.connection(1).sessions.ForkSession, request).now())

    def carry(self, session_id: str, other: str) -> OpenResult:
        """Begins another session from what such a session is exported as."""
        full, new = self._full([session_id, other])
        calls = self._held_server.connection(1).sessions
        export = sessions_pb2.ExportSessionRequest(model=self._model, session_id=full)
        exported = self._ask(calls.ExportSession, export).now().exported
        request = sessions_pb2.ImportSessionRequest(model=self._model, session_id=new, exported=exported)
        return _opened([other], self._ask(calls.ImportSession, request).now())

    def hand_over(self, session_id: str, other: str) -> OpenResult:
        """Begins another session from the state of such a session, at position 0."""
        full, new = self._full([session_id, other])
        hand_off = sessions_pb2.HandOff(session_id=full)
        request = sessions_pb2.OpenSessionsRequest(model=self._model, session_ids=[new], hand_off=hand_off)
        return _opened([other], self._ask(self._held_server.connection(0).sessions.OpenSessions, request).now())

    def positions(self) -> dict[str, tuple[int, int]]:
        """The sessions that there are: steps applied, and steps admitted."""
        found: dict[str, tuple[int, int]] = {}
        request = sessions_pb2.ListSessionsRequest(model=self._model, page_size=PAGE_SIZE)
        while True:
            page = self._ask(self._held_server.connection(1).sessions.ListSessions, request).now()
            for session in page.sessions:
                session_id = session.session_id.removeprefix(self._prefix)
                assert session_id not in found
                found[session_id] = (session.position, session.admitted)
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    def infer(self, rows: Sequence[Array], initial: State | None, timeout: float) -> Later[list[Received]]:
        """Whole sequences without sessions, longest first, and what becomes of each."""

        async def infer(request: inference_pb2.InferRequest) -> list[Received]:
            try:
                response = await self._held_server.connection(0).inference.Infer(request)
            except grpc.aio.AioRpcError as error:
                return received_of_error(error, request)
            return received_of_infer(response, request)

        return self._ask(infer, self._of_sequences(rows, initial, timeout), num_asked=1)

    def keep(self, ids: Sequence[str], rows: Sequence[Array], initial: State | None) -> list[Received]:
        """Runs whole sequences, longest first, to their ends, and keeps each one's state as a session; the engine runs
        free meanwhile."""
        request = self._of_sequences(rows, initial, math.inf)
        request.keep_state_as.extend(self._full(ids))
        self.let_go()
        response = self._held_server.do(_awaited(self._held_server.connection(0).inference.Infer(request)))
        self.hold()
        return received_of_infer(response, request)

    def _of_sequences(self, rows: Sequence[Array], initial: State | None, timeout: float) -> inference_pb2.InferRequest:
        request = inference_pb2.InferRequest(
            model=self._model,
            lengths=[len(row) for row in rows],
            input=wire.to_tensor(pack_rows(list(rows))),
            return_state=True,
            timeout=duration(timeout),
        )
        if initial:
            wire.fill_tensor(request.h_0, initial.h.numpy())
        if initial and initial.c is not None:
            wire.fill_tensor(request.c_0, initial.c.numpy())
        return request

    # The engine and time.

    def take_in(self) -> None:
        """Takes in what was handed over."""
        self._held_server.do(self._heard(self._stepper.take_in()))

    def pump(self) -> None:
        """One turn of the engine: takes in, runs a batch."""
        self._held_server.do(self._heard(self._stepper.pump()))

    def fail(self) -> None:
        """A turn whose computation fails."""
        with self._held_server.failing[self._model].failing():
            self.pump()

    def expire(self) -> None:
        """What the engine does now and then."""
        expiry = self._held_server.connection(0).server.expiry
        self._held_server.do(self._stepper.do(lambda: expiry.look(self.clock.now())))
        while math.isinf(self._runtime.next_expiry):
            self._held_server.do(self._stepper.take_in())  # the next slice

    def let_go(self) -> None:
        """The engine runs free."""
        self._stepper.let_go()
        self._is_free = True

    def hold(self) -> None:
        """Holds the engine once it has nothing left to do."""
        self._held_server.do(self._stepper.empty(self._runtime))
        self._held_server.do(self._heard(self._stepper.take()))
        self._is_free = False

    def assert_nothing_left(self) -> None:
        """Every table is as it was at the start, but for open sessions."""
        self.let_go()  # an `Infer` is answered when its first row fails
        self.hold()
        self._held_server.do(self._stepper.do(lambda: assert_nothing_left(self._runtime)))

    def shut(self) -> None:
        """Streams end well, and sessions are closed."""
        for stream in self._streams:
            self._held_server.do(stream.end())
        if there := self.positions():
            assert not self.close(*there).now().errors
        assert not self.positions()
        self._held_server.end_example()

    def _ask(self, call: Callable[[Any], Awaitable[T]], request: object, *, num_asked: int | None = None) -> Call[T]:
        # The call is under way, and the engine has taken in what the server asked of it, so many times or until it is
        # answered.
        async def begin() -> "asyncio.Task[T]":
            self._stepper.forget_asked()
            task, left = asyncio.create_task(_awaited(call(request))), num_asked
            while not task.done() and left != 0:
                await self._stepper.asked(task)
                await self._heard(self._stepper.take_in())
                left = None if left is None else left - 1
            return task

        return Call(self._held_server, self._held_server.do(begin()))

    async def _send(self, stream: WireStream, frame: Frame) -> None:
        await stream.send(frame)
        if not self._is_free:
            await stream.catch_up()

    async def _heard(self, doing: Awaitable[None]) -> None:
        # Done, and all that the server said of it is read.
        await doing
        await asyncio.gather(*(stream.catch_up() for stream in self._streams if stream.waits))

    def _full(self, ids: Sequence[str]) -> list[str]:
        return [self._prefix + session_id for session_id in ids]


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _opened(ids: Sequence[str], response: Any) -> OpenResult:
    return OpenResult(
        ids,
        list(response.handles),
        list(response.positions),
        list(response.versions),
        list(getattr(response, "resumed", ())),  # of opening alone
        errors_of(response),
    )
