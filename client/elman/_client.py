"""The client, for threads."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import grpc

from elman._client_core import DEFAULT_MAX_FRAME_BYTES, ClientCore
from elman._model import Model
from elman._model_core import ModelCore
from elman._shared.info import ModelInfo
from elman._shared.loop_thread import LoopThread
from elman._shared.retry import Retry
from elman._shared.transport import Metadata, Options, Transport


class Client:
    """As `AsyncClient`, for threads: any number of them may use one client, and their concurrent steps share frames."""

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
        """Connects when first used. The arguments, and what is raised, are those of `AsyncClient`.

        A process that has one may fork: the connection is let go of before, and made again after it. The child makes
        a client of its own; what it inherited raises ForkError there.
        """
        transport = Transport(target, tls, token, metadata, timeout, retry, options, insecure_token=insecure_token)
        self._thread = LoopThread()
        self._core = ClientCore(transport, max_frame_bytes, self._thread)

    def models(self) -> list[ModelInfo]:
        """The loaded models, by name and version. Raises UnavailableError, AuthenticationError."""
        return self._thread.run(self._core.models())

    def model(self, name: str, version: str = "") -> Model:
        """A loaded model; without a version the highest. Raises UnknownModelError, UnavailableError."""
        return Model(self._thread.run(ModelCore.describe(self._core, name, version)), self._thread)

    def is_ready(self, model: str = "") -> bool:
        """Whether the server, or one model of it, can serve now; False also where no server answers."""
        return self._thread.run(self._core.is_ready(model))

    def close(self) -> None:
        """Closes the connection. Sessions stay on the server; steps under way fail with ClosedError."""
        self._thread.stop(self._core.close())

    def __repr__(self) -> str:
        return self._core.repr_of("Client")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
