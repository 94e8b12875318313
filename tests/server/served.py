"""A server in this process, with raw stubs to it."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from frames_on_wire import Stepper
from grpc_health.v1 import health_pb2, health_pb2_grpc
from stepped_engine import FakeClock
from toys import write_toys

from elman.v1 import inference_pb2_grpc, models_pb2_grpc, sessions_pb2, sessions_pb2_grpc
from elman_server.config.address import Address
from elman_server.config.server_config import Limits, ServerConfig
from elman_server.server import Server

LOOPBACK = Address("127.0.0.1", 0)
DOOR: Any = os.environ.get("ELMAN_DOOR", "auto")
"""Which door the servers of tests have; processes read the same variable."""
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
LIMITS: dict[str, Any] = {"max_sessions": 128, "max_infer_rows": 64, "max_queue_rows": 1024}


@dataclass
class Served:
    """A running server and a connection to it."""

    server: Server
    channel: grpc.aio.Channel

    def __post_init__(self) -> None:
        self.models: Any = models_pb2_grpc.ModelsStub(self.channel)
        self.sessions: Any = sessions_pb2_grpc.SessionsStub(self.channel)
        self.inference: Any = inference_pb2_grpc.InferenceStub(self.channel)
        self.health: Any = health_pb2_grpc.HealthStub(self.channel)

    @property
    def instance(self) -> str:
        return self.server.door.instance

    @property
    def clock(self) -> Any:
        return self.server.door.engine.clock

    async def open(self, model: str, *ids: str, count: int = 0, mode: Any = 0, **fields: Any) -> Any:
        """OpenSessions; nothing may fail."""
        request = sessions_pb2.OpenSessionsRequest(model=model, session_ids=ids, count=count, mode=mode, **fields)
        opened = await self.sessions.OpenSessions(request)
        assert not opened.errors
        return opened

    async def step(self) -> Stepper:
        """A Step stream whose first answer was read."""
        return await Stepper.begin(self.inference)

    async def health_of(self, name: str) -> str:
        answer = await self.health.Check(health_pb2.HealthCheckRequest(service=name))
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    async def on_engine(self, function: Callable[[], Any]) -> Any:
        """What `function` gives on the engine's thread."""
        return await self.server.door.engine.call(function)

    async def expire(self) -> None:
        """What the engine does now and then, done now."""
        await self.on_engine(lambda: self.server.expiry.look(self.clock.now()))

    def runtime(self, model: str) -> Any:
        return self.server.catalogue.directory(model).version("")

    async def assert_all_released(self) -> None:
        """Nothing waits, runs or is lent any more, in any model."""
        for runtime in self.server.catalogue.runtimes():
            left = await self.on_engine(lambda r=runtime: (r.queue_rows, r.queue_bytes, r.borrowed, len(r.frames)))
            assert left == (0, 0, 0, 0)


@asynccontextmanager
async def serving(models: Path, **limits: Any) -> AsyncIterator[Served]:
    """A server of a model folder, for all tests of a module's loop."""
    config = ServerConfig(
        models=models,
        listen=LOOPBACK,
        door=DOOR,
        metrics_listen=LOOPBACK,
        warm_up_seconds=0,
        limits=Limits(**(LIMITS | limits)),
    )
    server = Server(config, torch.device("cpu"))
    await server.start()
    async with grpc.aio.insecure_channel(server.address, OPTIONS) as channel:
        yield Served(server, channel)
    await server.stop()


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with every toy."""
    torch.set_num_threads(1)
    return write_toys(tmp_path_factory.mktemp("toys"))


@pytest.fixture
async def serve(folder: Path, tmp_path: Path) -> AsyncIterator[Serve]:
    """Starts servers of some toys; stops them at the end of the test."""
    running: list[Served] = []

    async def start(
        *names: str,
        models: Path | None = None,
        clock: FakeClock | None = None,
        drain: float = 600.0,
        keepalive: float | None = 60.0,
        **limits: Any,
    ) -> Served:
        config = ServerConfig(
            models=models or _only(folder, names, tmp_path / f"models{len(running)}"),
            listen=LOOPBACK,
            door=DOOR,
            metrics_listen=LOOPBACK,
            drain_seconds=drain,
            keepalive_seconds=keepalive,
            keepalive_timeout_seconds=keepalive or 20.0,
            warm_up_seconds=0,
            limits=Limits(**(LIMITS | limits)),
        )
        server = Server(config, torch.device("cpu"), clock)
        await server.start()
        running.append(Served(server, grpc.aio.insecure_channel(server.address, OPTIONS)))
        return running[-1]

    yield start
    for served in running:
        await served.channel.close()
        await served.server.stop()


def _only(folder: Path, names: Iterable[str], target: Path) -> Path:
    target.mkdir()
    for name in names:
        (target / name).symlink_to(folder / name)
    return target
