"""The server: engine, services, health, reflection and metrics put together; started and stopped."""

import asyncio
import logging
import threading
from typing import Any
from wsgiref.simple_server import WSGIServer

import torch
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from prometheus_client import start_http_server

from elman.v1 import (
    inference_pb2,
    inference_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    sessions_pb2,
    sessions_pb2_grpc,
)
from elman_models.bundle import find_bundles
from elman_server.catalog import Catalog
from elman_server.clock import Clock
from elman_server.config import ServerConfig
from elman_server.door import NOT_SERVING, SERVING, Door
from elman_server.engine import Engine
from elman_server.listen import Address
from elman_server.metrics import Metrics
from elman_server.oip.service import OpenInferenceService
from elman_server.oip.stubs import grpc_service_pb2, grpc_service_pb2_grpc
from elman_server.preparation import Preparation
from elman_server.rehearsal import rehearse
from elman_server.rpc.choice import choose, make_transport
from elman_server.rpc.native import NativeTransport
from elman_server.rpc.server import RpcServer
from elman_server.service import InferenceService
from elman_server.service_models import ModelsService
from elman_server.service_sessions import SessionsService
from elman_server.single_rows import SingleRows

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 64 << 20
"""What gRPC itself takes and gives; the server's own limit on frames is lower, so that it can say so itself."""

OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # two servers on one port would share its callers at random
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)

SERVICES = (
    models_pb2.DESCRIPTOR.services_by_name["Models"].full_name,
    sessions_pb2.DESCRIPTOR.services_by_name["Sessions"].full_name,
    inference_pb2.DESCRIPTOR.services_by_name["Inference"].full_name,
    grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name,
    health.SERVICE_NAME,
    reflection.SERVICE_NAME,
)


ENDLESS = (f"/{health.SERVICE_NAME}/Watch", f"/{reflection.SERVICE_NAME}/ServerReflectionInfo")
"""Methods whose calls last for as long as the caller likes: a stop does not wait for them."""


class PortInUseError(Exception):
    """An address that cannot be listened on."""


class Server:
    """One server process's services, on the running event loop."""

    def __init__(self, config: ServerConfig, device: torch.device) -> None:
        self._config = config
        self.metrics = Metrics()
        self._engine = Engine(asyncio.get_running_loop(), Clock())
        self.catalog = Catalog(config.models, Preparation(config, device), config.limits, self._engine, self.metrics)
        self.door = Door(self._engine, self.catalog, self.metrics)
        self._open_inference = OpenInferenceService(self.door, strict_order=config.oip_strict_order)
        self.listener = choose(config.door)
        """Which door serves, and why."""
        transport = make_transport(self.listener, OPTIONS, self.door.instance)
        self._grpc = RpcServer(transport)
        single_rows = None
        if isinstance(transport, NativeTransport):
            single_rows = SingleRows(transport, self._engine, self.catalog, self.metrics)
        self._inference = InferenceService(self.door, single_rows)
        self._scraped: tuple[WSGIServer, threading.Thread] | None = None
        self.address = ""
        """HOST:PORT that it listens on."""
        self.metrics_address = ""
        """HOST:PORT of the metrics."""

    async def start(self) -> None:
        """Loads all bundles of the folder and listens.

        Raises:
            PortInUseError: an address cannot be listened on.
            ServiceError: a bundle cannot be loaded.
            BundleError: the folder has a bundle that cannot be read, or none.
        """
        self._register()
        self.address = self._bind(self._config.listen)
        self.metrics_address = self._listen_metrics(self._config.metrics_listen)
        await asyncio.to_thread(rehearse)
        self._engine.start()
        for bundle in find_bundles(self._config.models):
            runtime = await self.catalog.load(bundle)
            await self.door.health.set(runtime.spec.name, SERVING)
        await self._grpc.start()
        for name in ("", *SERVICES[:4]):
            await self.door.health.set(name, SERVING)

    async def stop(self) -> None:
        """Refuses what is new, answers what is admitted, and stops."""
        self.door.draining = True
        for name in ("", *SERVICES[:4], *self.catalog.families):
            await self.door.health.set(name, NOT_SERVING)
        self._inference.end_streams()
        self._open_inference.end_streams()
        self._grpc.cancel(ENDLESS)
        await self._grpc.stop(self._config.drain_seconds)
        await asyncio.to_thread(self._engine.stop)
        if self._scraped:
            self._scraped[0].shutdown()
            self._scraped[0].server_close()

    def _register(self) -> None:
        server: Any = self._grpc  # takes handlers as grpc's own servers do
        models_pb2_grpc.add_ModelsServicer_to_server(ModelsService(self.door), server)
        sessions_pb2_grpc.add_SessionsServicer_to_server(SessionsService(self.door), server)
        inference_pb2_grpc.add_InferenceServicer_to_server(self._inference, server)
        grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self._open_inference, server)
        health_pb2_grpc.add_HealthServicer_to_server(self.door.health, server)
        reflected: Any = reflection_pb2_grpc
        reflected.add_ServerReflectionServicer_to_server(reflection.aio.ReflectionServicer(SERVICES), server)

    def _bind(self, address: Address) -> str:
        try:
            port = self._grpc.add_insecure_port(str(address))
        except OSError as error:
            raise PortInUseError(f"cannot listen on {address}: is the port in use?") from error
        return str(address.with_port(port))

    def _listen_metrics(self, address: Address) -> str:
        try:
            self._scraped = start_http_server(address.port, address.host, registry=self.metrics.registry)
        except OSError as error:
            raise PortInUseError(f"cannot listen on {address} for metrics: {error.strerror}") from error
        return str(address.with_port(self._scraped[0].server_port))
