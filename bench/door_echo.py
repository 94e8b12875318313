"""An empty echo as `bench.echo`, on the door that elman's server has here, each message by a callback.

    python -m bench.door_echo --output-size 256

What a message costs at least on what our server is built on.
"""

import asyncio

from bench.bare_server import serve_bare_on_door
from bench.echo import GREETING, answer_of, main
from elman.v1 import inference_pb2
from elman_server.door.rpc.call import Call
from elman_server.door.rpc.context import Context


class DoorEcho:
    """Answers each frame of one row and one step with an answer made ahead."""

    def __init__(self, output_size: int) -> None:
        self._output_size = output_size

    async def step(self, _requests: object, context: Context) -> None:
        """Serves a stream to its end."""
        await EchoStream(context.call, answer_of(self._output_size)).run()


class EchoStream:
    """Reads, writes, and so on: reading on before the answer is sent, as the server's streams do, costs as much."""

    def __init__(self, call: Call, answer: inference_pb2.StepResponse) -> None:
        self._call = call
        self._answer = answer
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Returns once the caller has half-closed; cancelled if it goes away."""
        self._call.send(GREETING.SerializeToString(), self._sent)
        await self._ended

    def _sent(self, has_room: bool) -> None:
        if has_room:
            self._call.receive(self._received)

    def _received(self, data: bytes | None) -> None:
        if data is not None:
            self._answer.frame_id = inference_pb2.StepRequest.FromString(data).frame_id
            self._call.send(self._answer.SerializeToString(), self._sent)
        elif not self._ended.done():
            self._ended.set_result(None)


if __name__ == "__main__":
    main("door_echo", serve_bare_on_door, lambda output_size: DoorEcho(output_size).step)
