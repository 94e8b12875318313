"""The gRPC channel: credentials, metadata, limits, and unary calls with retries."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeVar, cast

import grpc

from elman._shared.checks import check_metadata, check_options, check_timeout
from elman._shared.deadline import Deadline
from elman._shared.errors import ClosedError, ElmanError, ErrorDetails, UnavailableError
from elman._shared.fork_guard import FORK_GUARD
from elman._shared.loop_affinity import LoopAffinity
from elman._shared.retry import NO_RETRY, Retry, RetryState, given_up, is_cut, is_refused_for_now
from elman._shared.status import error_of_call
from elman._shared.target import Target, check_token
from elman.v1 import inference_pb2_grpc, models_pb2_grpc, sessions_pb2_grpc

MAX_MESSAGE_BYTES: Final = 64 << 20
Options = Sequence[tuple[str, int | str]]
Metadata = Sequence[tuple[str, str]]

_OPTIONS: Final[Options] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5000),  # how long an attempt may take, whatever its name says
    ("grpc.max_reconnect_backoff_ms", 5000),
)

RequestT = TypeVar("RequestT", contravariant=True)
ResponseT = TypeVar("ResponseT", covariant=True)


class Method(Protocol[RequestT, ResponseT]):
    """A unary method of a generated stub."""

    def __call__(self, request: RequestT, /, *, timeout: float | None, metadata: Metadata) -> Awaitable[ResponseT]:
        """Calls it."""


class Transport:
    """One channel; opened by the first call, since it belongs to the loop that is running then."""

    def __init__(
        self,
        target: str,
        tls: bool | grpc.ChannelCredentials,
        token: str | None,
        metadata: Metadata,
        timeout_seconds: float | None,
        retry: Retry | None,
        options: Options,
        *,
        insecure_token: bool = False,
    ) -> None:
        """Raises TypeError, InvalidInputError, ForkError."""
        FORK_GUARD.check()
        self.target = Target.parse(target)
        _check(tls, metadata, timeout_seconds, retry, options)
        check_token(token, self.target, tls is False, insecure_token)
        self.metadata = (*metadata, *((("authorization", f"Bearer {token}"),) if token else ()))
        self.timeout_seconds = timeout_seconds
        self.retry = retry or NO_RETRY
        self.affinity = LoopAffinity()
        self._tls = tls
        self._options = (*_OPTIONS, *options)
        self._channel: grpc.aio.Channel | None = None
        self.channel = cast("grpc.aio.Channel", LazyChannel(self.opened))
        self._closed = asyncio.Event()
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._num_calls = 0  # under way
        self._quiet = asyncio.Event()

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""
        return self._closed.is_set()

    @property
    def models(self) -> models_pb2_grpc.ModelsAsyncStub:
        """Stub of the models' service."""
        return models_pb2_grpc.ModelsStub(self.channel)

    @property
    def sessions(self) -> sessions_pb2_grpc.SessionsAsyncStub:
        """Stub of the sessions' service."""
        return sessions_pb2_grpc.SessionsStub(self.channel)

    @property
    def inference(self) -> inference_pb2_grpc.InferenceAsyncStub:
        """Stub of the inference service."""
        return inference_pb2_grpc.InferenceStub(self.channel)

    def deadline(self, timeout_seconds: float | None = None) -> Deadline:
        """For something of several calls: so many seconds from now; None: the client's default."""
        return Deadline.after(self.timeout_seconds if timeout_seconds is None else timeout_seconds)

    async def call(
        self,
        method: Method[RequestT, ResponseT],
        request: RequestT,
        *,
        timeout_seconds: float | None = None,
        retry: Retry | None = None,
        deadline: Deadline | None = None,
        on_cut: Callable[[ElmanError], object] | None = None,
    ) -> ResponseT:
        """A unary call, tried again where that is safe and helps, within the timeout in all. Raises ElmanError.

        The limit is `deadline` where there is one, else `timeout_seconds`, else the client's default. `on_cut` is told
        of each cut before the next try: what was asked may have been done, and its answer lost.
        """
        deadline = deadline or self.deadline(timeout_seconds)
        failures = RetryState(retry or self.retry)
        while True:
            answer = await self._once(method, request, deadline)
            if not isinstance(answer, ElmanError):
                return answer
            if not (is_cut(answer) or is_refused_for_now(answer)):
                raise answer
            delay = failures.failed(answer)
            if delay is None or not deadline.allows(delay):
                raise given_up(answer)
            if on_cut is not None and is_cut(answer):
                on_cut(answer)
            await self._pause(delay)

    @contextlib.asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        """While something of a call is awaited: a fork waits for it, and it for a fork."""
        await self._resumed.wait()
        self._num_calls += 1
        try:
            yield
        finally:
            self._num_calls -= 1
            self._quiet.set()

    async def suspend(self) -> None:
        """Lets go of the channel until `resume`, and returns when gRPC has nothing left of calls: they are cut."""
        self._resumed.clear()
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
        while self._num_calls:
            self._quiet.clear()
            await self._quiet.wait()

    def resume(self) -> None:
        """May open a channel again."""
        self._resumed.set()

    async def close(self) -> None:
        """Closes the channel; calls under way are cancelled. Raises LoopError."""
        self._closed.set()
        self._resumed.set()
        channel, self._channel = self._channel, None
        if channel is not None and not self.affinity.has_ended:
            self.affinity.check()
            await channel.close()

    async def _once(
        self, method: Method[RequestT, ResponseT], request: RequestT, deadline: Deadline
    ) -> ResponseT | ElmanError:
        """The answer, or what went wrong: an exception raised here would keep the call alive in its traceback."""
        async with self.under_way():
            try:
                return await method(request, timeout=deadline.left_seconds(), metadata=self.metadata)
            except grpc.aio.AioRpcError as failure:
                return error_of_call(failure)
            except asyncio.CancelledError:
                if (error := self.why_cancelled()) is None:
                    raise
                return error

    def why_cancelled(self) -> ElmanError | None:
        """What a call that ended as cancelled is to raise; None: its own caller cancelled it."""
        if self._closed.is_set():  # while it waited
            return ClosedError("the client was closed")
        task = asyncio.current_task()
        if self._resumed.is_set() or (task is not None and task.cancelling()):
            return None
        return UnavailableError("the connection was let go of for a fork", ErrorDetails("UNAVAILABLE"))

    async def _pause(self, seconds: float) -> None:
        """Waits, but not for a client that is closed meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()

    def opened(self) -> grpc.aio.Channel:
        """The open channel. Raises ClosedError, LoopError, ForkError."""
        if self._closed.is_set():
            raise ClosedError("the client is closed")
        self.affinity.check()
        if self._channel is None:
            with FORK_GUARD.opening():
                self._channel = self._open()
        return self._channel

    def _open(self) -> grpc.aio.Channel:
        address = self.target.address
        if self._tls is False:
            return grpc.aio.insecure_channel(address, self._options)
        credentials = grpc.ssl_channel_credentials() if self._tls is True else self._tls
        return grpc.aio.secure_channel(address, credentials, self._options)


def _check(tls: object, metadata: object, timeout_seconds: object, retry: object, options: object) -> None:
    if not isinstance(tls, bool | grpc.ChannelCredentials):
        raise TypeError(f"tls: expected True, False or grpc.ChannelCredentials, got {tls!r}")
    if not isinstance(retry, Retry | None):
        raise TypeError(f"retry: expected a Retry or None, got {retry!r}")
    check_timeout("timeout", timeout_seconds)
    check_metadata(metadata)
    check_options(options)


class LazyChannel:
    """Finds the open channel at each call, so that a stub's method outlives a channel."""

    def __init__(self, opened: Callable[[], grpc.aio.Channel]) -> None:
        self._opened = opened

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """As that of a channel."""
        return lambda *request, **call: self._opened().unary_unary(*arguments, **options)(*request, **call)

    def unary_stream(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """As that of a channel."""
        return lambda *request, **call: self._opened().unary_stream(*arguments, **options)(*request, **call)

    def stream_stream(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """As that of a channel."""
        return lambda *request, **call: self._opened().stream_stream(*arguments, **options)(*request, **call)
