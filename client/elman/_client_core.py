"""What a client is for coroutines and threads alike, and what its models, sessions and pools share."""

from __future__ import annotations

from typing import Final

from elman._calls.session_calls import SessionCalls
from elman._calls.session_opener import SessionOpener
from elman._shared.checks import check_count, check_integer, check_switch, check_text, check_timeout
from elman._shared.errors import ClosedError, ElmanError, ForkError, InvalidInputError, LoopError
from elman._shared.fork_guard import FORK_GUARD
from elman._shared.info import ModelInfo
from elman._shared.loop_thread import LoopThread
from elman._shared.retry import NO_RETRY
from elman._shared.transport import MAX_MESSAGE_BYTES, Transport
from elman._stepping.driver import Driver
from elman._stepping.options import StepOptions, return_code
from elman.v1 import models_pb2

DEFAULT_MAX_FRAME_BYTES = 16 << 20
MIN_FRAME_BYTES = 256
_COLUMNS_SHARE = 16
_SUSPEND_SECONDS = 5.0
# The standard gRPC health check, by hand: its two messages are not worth a dependency.
_HEALTH_METHOD: Final = "/grpc.health.v1.Health/Check"
_SERVING: Final = b"\x08\x01"  # HealthCheckResponse{status: SERVING}
_HEALTH_TIMEOUT_SECONDS: Final = 5.0


class ClientCore:
    """The channel, the stream and the table of sessions."""

    def __init__(self, transport: Transport, max_frame_bytes: int, thread: LoopThread | None = None) -> None:
        """`thread` is whose loop it belongs to, where that is one of its own. Raises TypeError, InvalidInputError."""
        check_integer("max_frame_bytes", max_frame_bytes, MIN_FRAME_BYTES, MAX_MESSAGE_BYTES)
        self.max_data_bytes = max_frame_bytes - max_frame_bytes // _COLUMNS_SHARE  # the rest is for handles and such
        self.transport = transport
        self.driver = Driver(transport, self.max_data_bytes)
        self.opener = SessionOpener(transport, self.driver)
        self.session_calls = SessionCalls(transport)
        self._plain_options = StepOptions(None, None, False, transport.timeout_seconds)
        self._thread = thread
        if thread is not None:
            FORK_GUARD.watch(self)

    def options(
        self,
        returning: str | None,
        outputs: object,
        state: bool,
        timeout: float | None,
        progress: bool = False,
        every: object = None,
    ) -> StepOptions:
        """A step's options with the client's defaults. Raises TypeError, InvalidInputError."""
        if state is progress is False and returning is outputs is timeout is every is None:
            return self._plain_options  # one object, by which a session knows that it was looked at
        check_timeout("timeout", timeout)
        check_switch("state", state)
        check_switch("progress", progress)
        if returning is not None:
            return_code(returning)
        if every is not None:
            every = check_count("every", every)
            if returning not in (None, "all"):
                raise InvalidInputError(f"returning: every {every}-th step's output is asked for, got {returning!r}")
        seconds = self.transport.timeout_seconds if timeout is None else timeout
        return StepOptions(returning, outputs, bool(state), seconds, progress, every)

    def stream_options(self, returning: str | None, outputs: object, timeout: float | None) -> StepOptions:
        """Those of a stream's chunks, whose outputs are its items. Raises TypeError, InvalidInputError."""
        options = self.options(returning, outputs, False, timeout)
        if returning == "none":
            raise InvalidInputError("returning: expected all or last of a stream, got 'none'")
        return options

    def repr_of(self, kind: str) -> str:
        """Such as <elman.Client localhost:8470, open>."""
        transport = self.transport
        return f"<elman.{kind} {transport.target.address}, {'closed' if transport.is_closed else 'open'}>"

    async def models(self) -> list[ModelInfo]:
        """The loaded models, by name and version. Raises ElmanError."""
        models: list[ModelInfo] = []
        token = ""
        deadline = self.transport.deadline()
        while True:
            request = models_pb2.ListModelsRequest(page_token=token)
            response = await self.transport.call(self.transport.models.ListModels, request, deadline=deadline)
            models += [ModelInfo.from_proto(model) for model in response.models]
            token = response.next_page_token
            if not token:
                return models

    async def is_ready(self, service: str) -> bool:
        """Whether `service` (empty: the server) says SERVING. Raises TypeError, InvalidInputError."""
        check_text("model", service)
        method = self.transport.channel.unary_unary(
            _HEALTH_METHOD, request_serializer=_health_request, response_deserializer=bytes
        )
        try:
            answer = await self.transport.call(
                method, service, timeout_seconds=self._health_timeout_seconds(), retry=NO_RETRY
            )
        except (ClosedError, ForkError, LoopError):
            raise
        except ElmanError:
            return False
        return answer == _SERVING

    def suspend(self) -> None:
        """Lets go of the connection for a fork, from another thread than the loop's, and waits until that is done."""
        if self._thread is not None:
            self._thread.run_if_started(self._suspend(), _SUSPEND_SECONDS)

    def resume(self) -> None:
        """Connects again when there is something to send."""
        if self._thread is not None:
            self._thread.post_if_started(self._resume)

    async def close(self) -> None:
        """Ends the stream and closes the channel."""
        await self.driver.close()
        await self.transport.close()

    async def _suspend(self) -> None:
        await self.driver.suspend()
        await self.transport.suspend()

    def _resume(self) -> None:
        self.transport.resume()
        self.driver.resume()

    def _health_timeout_seconds(self) -> float:
        limit = self.transport.timeout_seconds
        return _HEALTH_TIMEOUT_SECONDS if limit is None else min(limit, _HEALTH_TIMEOUT_SECONDS)


def _health_request(service: str) -> bytes:
    """HealthCheckRequest{service}: field 1, length-delimited."""
    name = service.encode()
    if not name:
        return b""
    length, prefix = len(name), b"\x0a"
    while length > 0x7F:
        prefix += bytes((length & 0x7F | 0x80,))
        length >>= 7
    return prefix + bytes((length,)) + name
