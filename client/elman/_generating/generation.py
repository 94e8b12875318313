"""A generation under way, for coroutines and threads alike."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple

from elman._generating.request import GenerateOptions, are_one_hot, check_options, generate_request
from elman._session_cores import SessionCore
from elman._shared.deadline import Deadline
from elman._shared.errors import ElmanError, InvalidInputError, ServerError
from elman._shared.info import ModelInfo
from elman._shared.message_stream import MessageStream
from elman._shared.records import read_named
from elman._shared.retry import RetryState, given_up, is_cut, is_refused_for_now
from elman._shared.transport import Transport
from elman.v1 import inference_pb2
from elman.wire import WireError, from_tensor

_FINISHES: dict[int, Literal["stop", "length"]] = {
    inference_pb2.GenerateResponse.FINISH_STOP: "stop",
    inference_pb2.GenerateResponse.FINISH_LENGTH: "length",
}


class Beam(NamedTuple):
    """One of the sequences that a beam search kept."""

    tokens: list[int]
    score: float
    """Their log-probability, divided by their number to the power of `length_penalty`."""


class Step(NamedTuple):
    """One that was generated."""

    value: Any
    log_prob: float | None


class GenerationCore:
    """Reads what a session generates; over cuts it asks for what is missing."""

    def __init__(
        self,
        info: ModelInfo,
        transport: Transport,
        open_session: Callable[[], Awaitable[SessionCore]],
        options: GenerateOptions,
        max_steps: int,
        *,
        ends_session: bool = False,
    ) -> None:
        """`open_session` gives the session that generates, which is ended with it if `ends_session`.

        Raises TypeError, InvalidInputError.
        """
        check_options(options)
        request = generate_request(info, max_steps, options)
        self.seed: int = request.sampling.seed
        self.log_probs: list[float] = []
        self.finish: Literal["stop", "length"] | None = None
        self.beams: list[Beam] = []
        self._info = info
        self._transport = transport
        self._open_session = open_session
        self._ends_session = ends_session
        self._session: SessionCore | None = None
        self._request = request
        self._deadline = Deadline.after(options.get("timeout"))
        self._are_one_hot = are_one_hot(info, options)
        self._buffer: deque[Step] = deque()
        self._stream: MessageStream[inference_pb2.GenerateResponse] | None = None
        self._failures = RetryState(transport.retry)
        self._is_over = False  # nothing more comes
        self._is_reading = False
        self._ending = asyncio.Lock()

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits for its next step."""
        return self._is_reading

    async def steps(self) -> list[Step]:
        """What there is, at least one; none when it is over. Raises ElmanError."""
        self.check_unread()
        self._is_reading = True
        try:
            while not self._buffer and not self._is_over:
                await self._read()
        except ElmanError:
            await self.close()
            raise
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._is_over or task is None or task.cancelling():
                raise
            # It was not the reader that was cancelled, but the call: somebody else has closed it.
        finally:
            self._is_reading = False
        steps, self._buffer = list(self._buffer), deque()
        return steps

    def check_unread(self) -> None:
        """Raises InvalidInputError while somebody waits for its next step."""
        if self._is_reading:
            raise InvalidInputError("a generation is read by one at a time")

    def note(self, step: Step) -> Any:
        """A step that the caller has now; its value."""
        if step.log_prob is not None:
            self.log_probs.append(step.log_prob)
        return step.value

    async def close(self) -> None:
        """Ends it within a step, wherever it is; the session is where it left it, and whoever reads it gets no more."""
        async with self._ending:  # who closes it second waits until it is closed
            if not self._is_over:
                await self._end()

    async def _read(self) -> None:
        session = self._session or await self._begin()
        if self._is_over:  # it was closed meanwhile
            await self._leave(session)
            return
        if self._stream is None:
            method = self._transport.inference.Generate
            self._stream = MessageStream(self._transport, method, self._request, self._deadline)
        try:
            response = await self._stream.read()
        except ElmanError as error:
            self._stream = None
            await self._recover(error)
            return
        if response is None:
            raise ServerError("the server ended a generation without its last message")
        self._failures.progressed()
        self._take(response, session)
        if self._is_over:
            await self._leave(session)

    async def _begin(self) -> SessionCore:
        session = await self._open_session()
        await session.begin_generation(self, self._deadline)
        self._request.session_id = session.id
        self._request.position = session.position
        self._session = session
        return session

    async def _recover(self, error: ElmanError) -> None:
        if not (is_cut(error) or is_refused_for_now(error)):
            raise error
        delay = self._failures.failed(error)
        if delay is None or not self._deadline.allows(delay):
            raise given_up(error)
        await asyncio.sleep(delay)

    def _take(self, response: inference_pb2.GenerateResponse, session: SessionCore) -> None:
        try:
            steps = self._values(response)
        except WireError as error:
            raise ServerError(f"the server sent malformed steps: {error}") from error
        probabilities: list[float | None] = list(response.log_probs)
        self._request.told += len(steps)
        for value, log_prob in zip(steps, probabilities or [None] * len(steps), strict=True):
            self._buffer.append(Step(value, log_prob))
        session.client.driver.move_to(session.rows.item(), response.position)
        if response.finish:
            self.finish = _FINISHES.get(response.finish)
            self.beams = [Beam(list(one.tokens), one.score) for one in response.beams]
            self._is_over = True

    def _values(self, response: inference_pb2.GenerateResponse) -> list[Any]:
        if response.HasField("steps"):
            steps = from_tensor(response.steps, name="steps")
            if self._are_one_hot:
                steps = steps.argmax(axis=1)
            return list(steps.tolist() if steps.ndim == 1 else steps.copy())
        named = {name: array.copy() for name, array in read_named(response.named_steps).items()}
        count = len(next(iter(named.values()))) if named else 0
        return [{name: array[i] for name, array in named.items()} for i in range(count)]

    async def _end(self) -> None:
        # Ended in the middle: what was applied beyond what was told is found out by attaching again, which ends it.
        self._is_over = True
        if self._stream is not None:
            self._stream.cancel()
            self._stream = None
        session = self._session
        if session is not None:
            try:
                if not self._ends_session:
                    await session.client.driver.find_position(session.rows.item())
            finally:
                await self._leave(session)

    async def _leave(self, session: SessionCore) -> None:
        session.end_generation(self)
        if self._ends_session:
            await session.close()
