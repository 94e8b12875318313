"""What the services share: whom they serve for, and how an error leaves."""

import asyncio
import functools
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn, TypeVar

from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse

from elman_server.door.caller_limits import Callers
from elman_server.door.elman_v1.status import code_of, to_status, trailing_metadata
from elman_server.door.native.read_ahead import ReadAhead
from elman_server.door.rpc.context import Context
from elman_server.errors import Draining, EngineFailed, Loading, ReAttach, ServiceError
from elman_server.exchange.port import EnginePort
from elman_server.exchange.served import ModelCalls, ModelVersion, ServedModels
from elman_server.telemetry.metrics import Metrics
from elman_server.threads.detached import detached

log = logging.getLogger(__name__)
Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)
Service = TypeVar("Service")

SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING

LOADING_RETRY_SECONDS = 1.0
"""What a caller is told to wait who comes while the first models are loaded."""

ANONYMOUS = "anonymous"
"""The principal of callers without credentials: all are one, so that a session can be resumed by anyone."""


class Door:
    """The engine's side of the services."""

    def __init__(self, engine: EnginePort, catalogue: ServedModels, models: ModelCalls, metrics: Metrics) -> None:
        self.engine = engine
        self.catalogue = catalogue
        self.models = models
        self.metrics = metrics
        self.health = HealthServicer()
        """Overall under the empty name, and per model under the model's name."""
        self.callers = Callers(catalogue.limits)
        self.read_ahead: ReadAhead | None = None
        """How streams are read, where the native door reads them by itself."""
        self.instance = secrets.token_hex(8)
        """Names this server process."""
        self.draining = False
        self.loading = False
        """Whether the models of the start are not all loaded yet."""
        self._calls: set[asyncio.Task[Any]] = set()  # unary ones, under way
        self._one_load = asyncio.Lock()
        self._loads: set[asyncio.Future[None]] = set()

    @property
    def is_ready(self) -> bool:
        """Whether requests are taken: the first models are loaded, and it is neither stopping nor failed."""
        return not (self.loading or self.draining) and self.engine.failure is None

    def check_open(self) -> None:
        """Raises EngineFailed once the engine has failed, Draining while the server is stopping, Loading while it loads
        its first models."""
        self.engine.check()
        if self.draining:
            raise Draining("the server is stopping; reconnect")
        self.check_loaded()

    def check_loaded(self) -> None:
        """Raises Loading while the server loads its first models."""
        if self.loading:
            raise Loading("the server has begun and loads its models; try again", retry_seconds=LOADING_RETRY_SECONDS)

    def check_instance(self, instance: str) -> None:
        """Raises ReAttach if another server process is meant."""
        if instance and instance != self.instance:
            raise ReAttach(
                f"the request is for server instance {instance!r}, this is {self.instance!r}; attach again",
                metadata={"server_instance": self.instance},
            )

    @contextmanager
    def counting_bugs(self, method: str) -> Iterator[None]:
        """While a stream runs, whose messages are counted one by one."""
        try:
            yield
        except (ServiceError, DecodeError):
            raise
        except Exception:
            self.metrics.broke(method)
            raise

    @contextmanager
    def call(self) -> Iterator[None]:
        """While a unary call is served. Raises EngineFailed when the engine fails meanwhile."""
        task = asyncio.current_task()
        assert task is not None  # calls are served by tasks
        self._calls.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if task in self._calls or task.uncancel():
                raise  # by its caller
            self.engine.check()
            raise
        finally:
            self._calls.discard(task)

    def fail_calls(self) -> None:
        """Ends the unary calls that are under way: the engine has failed, and whatever they wait for does not come."""
        calls, self._calls = self._calls, set()
        for task in calls:
            task.cancel()

    async def load(self, name: str, version: str) -> list[ModelVersion]:
        """Loads what the folder has of that name and version; all of it that is loaded then.

        Raises:
            UnknownModel, BrokenBundle, ModelChanged: there is none, it cannot be loaded, or is loaded from other files.
        """
        load = asyncio.ensure_future(self._load(name, version))
        self._loads.add(load)
        load.add_done_callback(self._loads.discard)
        try:
            await load
        except asyncio.CancelledError:
            self.check_open()  # the stop has ended it, not its caller
            raise
        directory = self.catalogue.directory(name)
        await self.health.set(name, SERVING)
        return [directory.version(version)] if version else list(directory.versions.values())

    def end_loads(self) -> None:
        """Has loads end at once: a stop does not wait for them. What is measured meanwhile is let go."""
        for load in self._loads:
            load.cancel()

    async def _load(self, name: str, version: str) -> None:
        async with self._one_load:  # two at once would measure each other's noise
            await self.models.gone(name, version)
            for bundle in await detached(partial(self.catalogue.missing, name, version)):
                await self.models.load(bundle)

    async def unload(self, runtimes: Sequence[ModelVersion]) -> None:
        """Unloads versions of one model."""
        for runtime in runtimes:
            if not self.models.has_others(runtime):
                await self.health.set(runtime.spec.name, NOT_SERVING)
            await self.models.unload(runtime)


def unary(
    method: Callable[[Service, Request, Context], Awaitable[Response]],
) -> Callable[[Service, Request, Any], Awaitable[Response]]:
    """Turns a method's domain errors into statuses, and counts the call. The service has a `_door`."""
    name = method.__name__

    @functools.wraps(method)
    async def served(self: Service, request: Request, context: Context) -> Response:
        door: Door = self._door  # type: ignore[attr-defined]
        began, code = door.engine.clock.now(), "CANCELLED"
        try:
            door.check_loaded()
            with door.call():
                response = await method(self, request, context)
            code = "OK"
            return response
        except ServiceError as error:
            code = code_of(error).name
            await abort(context, error)
        except Exception as error:
            code = "INTERNAL"
            log.exception("%s failed", name)
            await abort(context, EngineFailed(f"{name} failed inside the server: {type(error).__name__}"))
        finally:
            door.metrics.request(name, code, door.engine.clock.now() - began)

    return served


async def abort(context: Context, error: ServiceError) -> NoReturn:
    """Ends the call with the error's status; raises."""
    status: status_pb2.Status = to_status(error)
    await context.abort(code_of(error), error.message, trailing_metadata(status))
