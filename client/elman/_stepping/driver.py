"""Drives the client's one stream: gathers, sends, and over cuts sends again what has no answer yet.

A frame stays `in flight` until each of its rows has ended, so a cut costs nothing but time: connect, attach the
sessions that have chunks, send the unanswered rows again in their order. The server knows them by position and applies
none twice. What it refuses for now waits until everything else under way has ended, and goes out again, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

from elman._shared.deadline import NEVER, Deadline
from elman._shared.errors import ClosedError, DeadlineError, ElmanError, ServerError, StaleHandleError
from elman._shared.packed_layout import Index
from elman._shared.retry import RetryState, given_up, is_cut, is_refused_for_now
from elman._shared.status import error_of_status
from elman._shared.transport import Transport
from elman._stepping.chunks import Chunk, PoolChunk
from elman._stepping.frame import Frame
from elman._stepping.in_flight_frames import InFlightFrames
from elman._stepping.send_queue import SendQueue
from elman._stepping.session_attacher import SessionAttacher
from elman._stepping.session_table import NO_SERVER, SessionTable
from elman._stepping.step_stream import StepStream, cut
from elman.v1 import inference_pb2
from elman.wire import WireError

_MANY_FAILURES = 2
_END_TIMEOUT_SECONDS = 1.0


class Driver:
    """Belongs to one event loop; every method is called there."""

    def __init__(self, transport: Transport, max_frame_bytes: int) -> None:
        self.table = SessionTable()
        self._transport = transport
        self._send_queue = SendQueue(self.table, max_frame_bytes)
        self._attacher = SessionAttacher(transport, self.table, self._send_queue)
        self._in_flight = InFlightFrames(self.table, self._send_queue.note_ended)
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()  # something ended, well or not
        self._task: asyncio.Task[None] | None = None
        self._failures = RetryState(transport.retry)  # failures since a row last ended well
        self._is_connected = False
        self._is_closed = False
        self._is_suspended = False

    @property
    def connection(self) -> int:
        """The number of the open stream, or else of the next: handles given now are for that one."""
        return self._in_flight.connection + (not self._is_connected)

    def submit(self, chunk: Chunk | PoolChunk) -> None:
        """Sends the chunk with whatever else is submitted in the same turn of the loop. Raises LoopError, ForkError."""
        if self._is_closed:
            chunk.refuse(ClosedError("the client is closed"))
            return
        self._transport.affinity.check()
        chunk.reserve(self.table)
        self._send_queue.put(chunk)
        self._wake.set()
        self._start()

    def submit_all(self, chunks: Iterable[Chunk | PoolChunk]) -> None:
        """Submits in order."""
        for chunk in chunks:
            self.submit(chunk)

    async def settled(self, sessions: Index, deadline: Deadline = NEVER) -> None:
        """Returns when nothing that was submitted for the sessions is without its end.

        Raises DeadlineError, LoopError, ForkError.
        """
        self._transport.affinity.check()
        try:
            async with asyncio.timeout(deadline.left_seconds()):
                while self.table.pending[sessions].any():
                    self._ended.clear()
                    await self._ended.wait()
        except TimeoutError:
            raise DeadlineError("steps under way did not end in time; they may still be applied") from None

    def move_to(self, session: int, position: int) -> None:
        """The session is at that position now: its next chunk begins there."""
        self._send_queue.move_to(session, position)

    async def find_position(self, session: int) -> None:
        """Attaches the session again, which ends whatever else drives it, and has it go on from where it is then.

        What goes wrong with that is told with its next step, which attaches it once more.
        """
        self.table.servers[session] = NO_SERVER
        self.table.position_unknown[session] = True
        with contextlib.suppress(ElmanError):
            await self._attacher.attach({session}, self.connection)

    async def suspend(self) -> None:
        """Ends the stream; what has no answer waits for `resume`, and is sent again as after a cut."""
        self._is_suspended = True
        await self._stop()

    def resume(self) -> None:
        """Goes on."""
        self._is_suspended = False
        if self._send_queue or self._in_flight:
            self._start()

    async def close(self) -> None:
        """Ends the stream; what has no answer fails with ClosedError, applied or not. Raises LoopError."""
        self._is_closed = True
        if not self._transport.affinity.has_ended:
            self._transport.affinity.check()
            await self._stop()
        self._fail_all(ClosedError("the client was closed"))

    def _start(self) -> None:
        if self._task is None and not self._is_suspended and not self._is_closed:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._drive()
            except ElmanError as error:
                await self._recover(error)
            except Exception as error:  # noqa: BLE001 - a bug here must not leave callers waiting for ever
                self._fail_all(ServerError(f"the stream's driver failed: {error!r}"))

    async def _recover(self, error: ElmanError) -> None:
        delay_seconds = self._failures.failed(error) if is_cut(error) else None
        if delay_seconds is not None:
            await asyncio.sleep(delay_seconds)
            return
        self._fail_all(given_up(error))
        self._failures.progressed()

    async def _drive(self) -> None:
        """One connection, from its opening to its end, which raises."""
        while not self._send_queue and not self._in_flight:
            self._wake.clear()
            await self._wake.wait()
        stream = await StepStream.open(self._transport)
        self._in_flight.connection += 1
        self._is_connected = True
        server = self.table.server_number(stream.server_instance)
        reader = asyncio.get_running_loop().create_task(self._read(stream))
        reader.add_done_callback(lambda _: self._notify())
        try:
            await self._attach(self._in_flight.sessions(), server)
            await self._resend(stream, reader)
            await self._write(stream, reader, server)
        finally:
            self._is_connected = False
            stream.cancel()  # which ends the reader, once gRPC is done with its read: nothing is left to a closed loop
            await asyncio.wait([reader], timeout=_END_TIMEOUT_SECONDS)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _write(self, stream: StepStream, reader: asyncio.Task[None], server: int) -> None:
        while True:
            if reader.done():
                reader.result()
            if self._in_flight.resend_reason:
                await self._after_refusals(stream, reader, server)
            elif not await self._send_gathered(stream, server):
                await self._wake.wait()
            self._wake.clear()
            self._ended.set()

    async def _send_gathered(self, stream: StepStream, server: int) -> bool:
        frames, unattached = self._send_queue.gather(server, self._in_flight.is_crowded)
        for frame in frames:
            self._in_flight.add(frame)
        for frame in frames:
            await self._send(stream, frame)
        if unattached:
            await self._attach(unattached, server)
        return bool(frames or unattached)

    async def _send(self, stream: StepStream, frame: Frame) -> None:
        self._in_flight.fail_rows_after_failure(frame)
        if frame.num_open:
            await stream.write(frame.encode(self.table, stream.server_instance))

    async def _resend(self, stream: StepStream, reader: asyncio.Task[None]) -> None:
        """The first frame alone, the others once it is answered; wholly answered after several failures in a row.

        A write on a stream that was just cut loses the answers that have come and are not read yet. So each connection
        that lives for one answer brings us on by one, however many frames wait.
        """
        self._in_flight.resend_reason = None
        for number, frame in enumerate(self._in_flight.frames()):
            await self._send(stream, frame)
            while number == 0 and self._is_alone(frame) and not reader.done():
                self._ended.clear()
                await self._ended.wait()

    def _is_alone(self, frame: Frame) -> bool:
        return frame.is_awaited if self._failures.num_failures > _MANY_FAILURES else frame.is_unanswered

    def _notify(self) -> None:
        self._ended.set()
        self._wake.set()

    async def _attach(self, sessions: set[int], server: int) -> None:
        """Attaches sessions at the stream's server; those that are lost fail with all their chunks."""
        if not sessions:
            return
        lost = await self._attacher.attach(sessions, self._in_flight.connection)
        for session, error in lost.items():
            self.table.servers[session] = NO_SERVER
            self._in_flight.fail_session(session, error)
            for chunk in self._send_queue.drain(session):
                chunk.fail_unsent(self.table, error)
        if any(self.table.servers.item(session) != server for session in sessions - lost.keys()):
            raise cut("the stream and the calls reach different servers: sessions need one server")

    async def _after_refusals(self, stream: StepStream, reader: asyncio.Task[None], server: int) -> None:
        """Waits until all under way has ended, then sends again what was refused, here or over a new stream."""
        error = self._in_flight.resend_reason
        if error is None or not self._in_flight.is_quiet:
            await self._wake.wait()
            return
        if isinstance(error, StaleHandleError):
            await self._attach(self._in_flight.sessions(), server)
        elif is_refused_for_now(error):
            await self._wait_for_room(error)
        else:
            raise error
        await self._resend(stream, reader)

    async def _wait_for_room(self, error: ElmanError) -> None:
        delay_seconds = self._failures.failed(error)
        if delay_seconds is not None:
            await asyncio.sleep(delay_seconds)
        else:
            self._in_flight.fail_refused()
            self._failures.progressed()

    async def _read(self, stream: StepStream) -> None:
        while True:
            response = await stream.read()
            try:
                self._take(response)
            except WireError as error:
                raise ServerError(f"the server sent a malformed result: {error}") from error

    def _take(self, response: inference_pb2.StepResponse) -> None:
        frame = self._in_flight.get(response.frame_id)
        if frame is not None:
            if response.HasField("frame_error"):
                self._in_flight.frame_failed(frame, error_of_status(response.frame_error))
            elif self._in_flight.absorb(frame, response):
                self._failures.progressed()
        self._ended.set()
        if self._send_queue or self._in_flight.resend_reason:
            self._wake.set()

    def _fail_all(self, error: ElmanError) -> None:
        self._in_flight.fail_all(error)
        for chunk in self._send_queue.drain():
            chunk.fail_unsent(self.table, error)
        self._ended.set()
