"""One call of `Generate`: what comes of a generation, told as it comes."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial

from elman import wire
from elman.v1 import inference_pb2
from elman_server.door.caller_limits import Charge
from elman_server.door.door import ANONYMOUS, Door
from elman_server.door.elman_v1.read import check_size, read_context
from elman_server.door.elman_v1.read_generate import read_generate, read_position
from elman_server.door.elman_v1.write import add_named
from elman_server.engine.session_calls import SessionCalls
from elman_server.exchange.initial import Initial
from elman_server.generating.generation import Generation, as_array
from elman_server.generating.generators import Asked, Generators, Listener
from elman_server.sessions.directory import OpenMode, SessionDirectory
from elman_server.sessions.table import Owner

MESSAGES_PER_SECOND = 1000
"""Of all calls together, about. A message costs more than a row of a batch, so the more calls there are, the more steps
each message tells."""


class GenerateCalls:
    """Serves `Inference.Generate`. On the loop."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._num_calls = 0
        catalogue = door.catalogue
        self.generators = Generators(door.engine, lambda place: catalogue.worker_of(place.runtime))

    async def serve(
        self, request: inference_pb2.GenerateRequest, peer: str
    ) -> AsyncGenerator[inference_pb2.GenerateResponse]:
        """The messages of one call.

        Raises:
            ServiceError: it is refused, or ends so.
        """
        catalogue = self._door.catalogue
        check_size(request.ByteSize(), catalogue.limits.max_frame_bytes)
        call = _Call(self._door, self.generators, request, catalogue.directory(request.model))
        self._num_calls += 1
        try:
            await self._door.engine.call(partial(call.begin, peer))
            async for response in call.responses():
                yield response
                if not response.finish and self._num_calls > 1:
                    await asyncio.sleep(self._num_calls / MESSAGES_PER_SECOND)
        finally:
            self._num_calls -= 1
            self._door.engine.post(call.end)


class _Call:
    def __init__(
        self,
        door: Door,
        generators: Generators,
        request: inference_pb2.GenerateRequest,
        directory: SessionDirectory,
    ) -> None:
        self._door = door
        self._generators = generators
        self._request = request
        self._directory = directory
        self._listener = Listener(door.engine.loop_calls)
        self._session_id = request.session_id
        self._num_told = request.told
        self._charge: Charge | None = None

    # ---- on the engine's thread

    def begin(self, peer: str) -> None:
        """Asks for it. Raises ServiceError."""
        request = self._request
        position = read_position(request)
        read = partial(read_generate, request, self._door.catalogue.limits.max_generate_steps)
        self._charge = self._door.callers.charge(peer, 1, request.ByteSize())
        if not request.session_id:
            read(self._directory.version(request.version).view)  # before there is a session
            self._session_id = self._open()
        asked = Asked(Owner(ANONYMOUS, self._session_id), read, _key(request), position, request.told)
        self._generators.ask(self._session_calls(), asked, self._listener)

    def end(self) -> None:
        """Nobody listens any more."""
        self._generators.leave(self._listener)
        if self._charge:
            self._charge.release()
        if self._session_id and not self._request.session_id:
            self._session_calls().close(ANONYMOUS, [self._session_id], lambda _: None)

    def _open(self) -> str:
        session_id, now = secrets.token_urlsafe(12), self._door.engine.clock.now()
        initial = Initial(context=read_context(self._request.context))
        opened = self._directory.open(ANONYMOUS, [session_id], OpenMode.NEW, self._request.version, now, initial)
        if opened.errors:
            raise opened.errors[0]
        return session_id

    def _session_calls(self) -> SessionCalls:
        return SessionCalls(self._directory, self._door.engine.clock)

    # ---- on the loop

    async def responses(self) -> AsyncIterator[inference_pb2.GenerateResponse]:
        """What there is to tell, as it comes. Raises ServiceError."""
        is_first = True
        while True:
            await self._listener.wait()
            generation, error = self._listener.generation, self._listener.error
            if generation and (is_first or generation.count > self._num_told or generation.finish):
                finish = generation.finish
                yield self._response(generation, is_first)
                is_first = False
                if finish and self._num_told == generation.count:
                    return
            error = error or (generation.error if generation else None)
            if error:
                raise error

    def _response(self, generation: Generation, is_first: bool) -> inference_pb2.GenerateResponse:
        first, end = self._num_told, generation.count
        self._num_told = end
        response = inference_pb2.GenerateResponse(
            session_id=self._session_id if is_first else "",
            position=generation.begin + generation.prompt_length * generation.has_run_prompt + end,
            finish=int(generation.finish or 0),  # type: ignore[arg-type]
            log_probs=generation.log_probs[first:end],
        )
        if end > first:
            _write_steps(response, generation, first, end)
        for one in generation.beams:
            response.beams.add(tokens=one.tokens, score=one.score)
        return response


def _write_steps(response: inference_pb2.GenerateResponse, generation: Generation, first: int, end: int) -> None:
    steps = as_array(generation, first, end)
    if steps.dtype.names is None:
        wire.fill_tensor(response.steps, steps)
        return
    for one in generation.spec.feedback:
        add_named(response.named_steps, one.input.name, steps[one.input.name])


def _key(request: inference_pb2.GenerateRequest) -> bytes:
    same = inference_pb2.GenerateRequest()
    same.CopyFrom(request)
    same.told = 0
    return same.SerializeToString(deterministic=True)
