"""The client, for coroutines."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import grpc

from elman._async_model import AsyncModel
from elman._client_core import DEFAULT_MAX_FRAME_BYTES, ClientCore
from elman._model_core import ModelCore
from elman._shared.info import ModelInfo
from elman._shared.retry import Retry
from elman._shared.transport import Metadata, Options, Transport


class AsyncClient:
    """A connection to one elman server. All its sessions share one stream, and concurrent steps share frames."""

    def __init__(
        self,
        target: str,
        *,
        tls: bool | grpc.ChannelCredentials = False,
        token: str | None = None,
        insecure_token: bool = False,
        metadata: Metadata = (),
        timeout: float | None = None,
        retry: Retry | None = Retry(),  # noqa: B008 - frozen
        max_frame_bytes: int = DEFAULT_MAX_FRAME_BYTES,
        options: Options = (),
    ) -> None:
        """Connects when first used.

        `target` is "host", "host:port" (8470 where no port is named), "[::1]:8470", "unix:/path" or any gRPC target;
        `tls` True (the system's roots) or credentials; `token` a bearer token, which goes over TLS or to this machine
        only, unless `insecure_token` lets it travel readable; `metadata` goes with every call; `timeout` in seconds is
        the default of every call and step (None: no limit), kept whether the server is slow, held up or not there;
        `retry` None gives up at the first trouble; `max_frame_bytes` is the server's limit, at least 256; `options`
        are gRPC channel arguments.

        It belongs to the event loop that first uses it, and to this process. Close it before forking.

        Raises TypeError and InvalidInputError for arguments that make no sense, ForkError in a process that was forked
        while gRPC was in use.
        """
        transport = Transport(target, tls, token, metadata, timeout, retry, options, insecure_token=insecure_token)
        self._core = ClientCore(transport, max_frame_bytes)

    async def models(self) -> list[ModelInfo]:
        """The loaded models, by name and version. Raises UnavailableError, AuthenticationError."""
        return await self._core.models()

    async def model(self, name: str, version: str = "") -> AsyncModel:
        """A loaded model; without a version the highest. Raises UnknownModelError, UnavailableError."""
        return AsyncModel(await ModelCore.describe(self._core, name, version))

    async def is_ready(self, model: str = "") -> bool:
        """Whether the server, or one model of it, can serve now; False also where no server answers."""
        return await self._core.is_ready(model)

    async def close(self) -> None:
        """Closes the connection. Sessions stay on the server; steps under way fail with ClosedError."""
        await self._core.close()

    def __repr__(self) -> str:
        return self._core.repr_of("AsyncClient")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
