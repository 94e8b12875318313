"""One call of `Generate`: what comes of a generation, told as it comes."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial

from elman import wire
from elman.v1 import inference_pb2
from elman_server.door.caller_limits import Charge
from elman_server.door.door import ANONYMOUS, Door
from elman_server.door.elman_v1.read import check_size, read_context
from elman_server.door.elman_v1.read_generate import read_generate, read_position
from elman_server.door.elman_v1.write import add_named
from elman_server.generating.call import GenerateCall
from elman_server.generating.generation import Generation, as_array
from elman_server.generating.generators import Asked, Generators, Listener


class GenerateCalls:
    """Serves `Inference.Generate`. On the loop."""

    def __init__(self, door: Door, generators: Generators) -> None:
        self._door = door
        self._generators = generators

    async def serve(
        self, request: inference_pb2.GenerateRequest, peer: str
    ) -> AsyncGenerator[inference_pb2.GenerateResponse]:
        """The messages of one call.

        Raises:
            ServiceError: it is refused, or ends so.
        """
        catalogue = self._door.catalogue
        check_size(request.ByteSize(), catalogue.limits.max_frame_bytes)
        call = _Call(self._door, self._generators, request)
        try:
            await self._door.engine.call(partial(call.begin, peer))
            async for response in call.responses():
                yield response
        finally:
            self._door.engine.post(call.end)


class _Call:
    def __init__(
        self,
        door: Door,
        generators: Generators,
        request: inference_pb2.GenerateRequest,
    ) -> None:
        engine = door.engine
        self._door = door
        self._request = request
        self._listener = Listener(engine.loop_calls)
        directory = generators.directory(request.model)
        self._call = GenerateCall(generators, directory, engine.clock, self._listener)
        self._session_id = ""
        self._num_told = request.told
        self._charge: Charge | None = None

    def begin(self, peer: str) -> None:
        """Asks for it, on the engine's thread. Raises ServiceError."""
        request, door = self._request, self._door
        read = partial(read_generate, request, door.catalogue.limits.max_generate_steps)
        position, context = read_position(request), read_context(request.context)
        self._charge = door.callers.charge(peer, 1, request.ByteSize())
        asked = Asked(ANONYMOUS, request.session_id, read, _key(request), position, request.told)
        self._session_id = self._call.begin(asked, request.version, context)

    def end(self) -> None:
        """Nobody listens any more; on the engine's thread."""
        self._call.end()
        if self._charge:
            self._charge.release()

    async def responses(self) -> AsyncIterator[inference_pb2.GenerateResponse]:
        """What there is to tell, as it comes. Raises ServiceError."""
        is_first = True
        while True:
            await self._listener.wait()
            generation, error = self._listener.generation, self._listener.error
            error = error or (generation.error if generation else None)  # looked at first: what came before it is told
            if generation and (is_first or generation.count > self._num_told or generation.finish):
                finish = generation.finish
                yield self._response(generation, is_first)
                is_first = False
                if finish and self._num_told == generation.count:
                    return
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
    return hashlib.sha256(same.SerializeToString(deterministic=True)).digest()
