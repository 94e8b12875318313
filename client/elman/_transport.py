"""The gRPC channel: credentials, metadata, limits, and unary calls with retries."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

import grpc

from elman._deadline import Deadline
from elman._errors import ClosedError, ElmanError
from elman._retry import NO_RETRY, Retry, given_up, is_cut, is_refused_for_now
from elman._status import error_of_call
from elman.v1 import inference_pb2_grpc, models_pb2_grpc, sessions_pb2_grpc

MAX_MESSAGE_BYTES: Final = 64 << 20
Options = Sequence[tuple[str, int | str]]
Metadata = Sequence[tuple[str, str]]

_OPTIONS: Final[Options] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
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
    ) -> None:
        self.metadata = (*metadata, *((("authorization", f"Bearer {token}"),) if token else ()))
        self.timeout_seconds = timeout_seconds
        self.retry = retry or NO_RETRY
        self._target = target
        self._tls = tls
        self._options = (*_OPTIONS, *options)
        self._channel: grpc.aio.Channel | None = None
        self._closed = asyncio.Event()

    @property
    def channel(self) -> grpc.aio.Channel:
        """The open channel."""
        if self._closed.is_set():
            raise ClosedError("the client is closed")
        if self._channel is None:
            self._channel = self._open()
        return self._channel

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

    async def call(
        self,
        method: Method[RequestT, ResponseT],
        request: RequestT,
        *,
        timeout_seconds: float | None = None,
        retry: Retry | None = None,
        on_cut: Callable[[ElmanError], object] | None = None,
    ) -> ResponseT:
        """A unary call, tried again where that is safe and helps, within the timeout in all. Raises ElmanError.

        `on_cut` is told of each cut before the next try: what was asked may have been done, and its answer lost.
        """
        retry = retry or self.retry
        deadline = Deadline.after(self.timeout_seconds if timeout_seconds is None else timeout_seconds)
        attempt = 0
        while True:
            try:
                return await self._once(method, request, deadline.left_seconds())
            except grpc.aio.AioRpcError as failure:
                error = error_of_call(failure)
            attempt += 1
            delay = retry.delay_seconds(attempt, error)
            is_worth_it = attempt < retry.max_attempts and deadline.allows(delay)
            if not (is_worth_it and (is_cut(error) or is_refused_for_now(error))):
                raise given_up(error)
            if on_cut is not None and is_cut(error):
                on_cut(error)
            await self._pause(delay)

    async def close(self) -> None:
        """Closes the channel; calls under way are cancelled."""
        self._closed.set()
        if self._channel is not None:
            await self._channel.close()

    async def _once(
        self, method: Method[RequestT, ResponseT], request: RequestT, timeout_seconds: float | None
    ) -> ResponseT:
        if self._closed.is_set():  # while it waited to be tried again
            raise ClosedError("the client was closed")
        try:
            return await method(request, timeout=timeout_seconds, metadata=self.metadata)
        except asyncio.CancelledError:
            if self._closed.is_set():
                raise ClosedError("the client was closed") from None
            raise

    async def _pause(self, seconds: float) -> None:
        """Waits, but not for a client that is closed meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closed.wait()

    def _open(self) -> grpc.aio.Channel:
        if self._tls is False:
            return grpc.aio.insecure_channel(self._target, self._options)
        credentials = grpc.ssl_channel_credentials() if self._tls is True else self._tls
        return grpc.aio.secure_channel(self._target, credentials, self._options)
