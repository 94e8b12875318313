"""The server: engine, services, health, reflection and metrics put together; started and stopped."""

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
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
from elman_models.fingerprint import check_distinct, read_specs
from elman_server.config.address import Address
from elman_server.config.server_config import ServerConfig
from elman_server.door.choice import choose, make_transport
from elman_server.door.door import NOT_SERVING, SERVING, Door
from elman_server.door.elman_v1.inference import InferenceService
from elman_server.door.elman_v1.models import ModelsService
from elman_server.door.elman_v1.sessions import SessionsService
from elman_server.door.native.port import NativePort
from elman_server.door.native.read_ahead import ReadAhead
from elman_server.door.native.row_columns import warm_up_columns
from elman_server.door.native.single_rows import SingleRows
from elman_server.door.oip.service import OpenInferenceService
from elman_server.door.oip.stubs import grpc_service_pb2, grpc_service_pb2_grpc
from elman_server.door.rpc.certificates import files_of
from elman_server.door.rpc.channel_options import channel_options
from elman_server.door.rpc.listener import Listener, PortInUseError
from elman_server.door.rpc.server import RpcServer
from elman_server.engine.calls.models import ModelCalls
from elman_server.engine.calls.sequences import Sequences
from elman_server.engine.calls.sessions import SessionCalls
from elman_server.engine.engine import Engine
from elman_server.engine.expiry import Expiry
from elman_server.engine.jit_warm_up import warm_up_jit
from elman_server.engine.overlapped import OverlappedEngine
from elman_server.errors import EngineFailed
from elman_server.generating.generators import Generators
from elman_server.models.catalogue import Catalogue
from elman_server.models.loading import Preparation
from elman_server.models.remeasuring import Remeasuring
from elman_server.models.traffic import Traffic
from elman_server.telemetry.metrics import Metrics
from elman_server.telemetry.scrape import ScrapedRegistry
from elman_server.threads.clock import Clock
from elman_server.threads.detached import detached

log = logging.getLogger(__name__)

FAILED_DRAIN_SECONDS = 5.0
"""What callers have to read their answers after the engine has failed."""

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


class Server:
    """One server process's services, on the running event loop."""

    def __init__(self, config: ServerConfig, device: torch.device, clock: Clock | None = None) -> None:
        """`clock`: by default the machine's."""
        self._config = config
        self.metrics = Metrics()
        engine = OverlappedEngine if device.type == "cuda" else Engine
        self._engine = engine(asyncio.get_running_loop(), clock or Clock())
        self._traffic = Traffic(self.metrics)
        self._preparation = Preparation(config, device, self._traffic)
        self.catalogue = Catalogue(config.models, config.limits, self._engine.clock, self.metrics)
        self.expiry = Expiry(self._engine, self.catalogue)
        self.models = ModelCalls(self._engine, self.catalogue, self._preparation)
        self.models.remeasuring = Remeasuring(self._engine, self._traffic, self._preparation.again)
        self.door = Door(self._engine, self.catalogue, self.models, self.metrics)
        self._choice = choose(config.door)
        transport = make_transport(self._choice, channel_options(config), self.door.instance)
        self._grpc = RpcServer(transport)
        self._port = transport.port(self._engine.loop_calls)
        single_rows = None
        if isinstance(self._port, NativePort):
            read_ahead = self.door.read_ahead = ReadAhead(self._port, self.door.callers)
            single_rows = SingleRows(self._port, self._engine, self.catalogue, self.metrics, read_ahead)
        generators = Generators(self._engine, self.catalogue)
        self._inference = InferenceService(self.door, self._port, generators, single_rows)
        self._open_inference = OpenInferenceService(
            self.door,
            self._port,
            Sequences(self._engine, self.catalogue),
            strict_order=config.oip_strict_order,
            optional_inputs=config.oip_optional_inputs,
        )
        self._scraped: tuple[WSGIServer, threading.Thread] | None = None
        self._listener = Listener(config.listen, config.socket_permissions)
        self.address = ""
        """HOST:PORT or unix:PATH that it listens on."""
        self.metrics_address = ""
        """HOST:PORT of the metrics; empty: they are not served."""
        self.failed = asyncio.Event()
        """Set when the engine has failed and everybody is told: what is left to do is to `stop`."""
        self._engine.ending.listeners.append(self._fail)
        self._failing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens, and loads all bundles of the folder. What it raises has stopped the server.

        Raises:
            PortInUseError, ServiceError, BundleError: as `listen` and `load`.
        """
        await self.listen()
        try:
            await self.load()
        except BaseException:
            await self.stop()
            raise

    async def listen(self) -> None:
        """Answers health, metrics and reflection from now on; whatever needs a model is refused until `load` is done.

        Raises:
            PortInUseError: an address cannot be listened on.
            CertificateError: the files of its TLS are not good.
        """
        files = files_of(self._config.tls)
        self._register()
        add_port = partial(self._grpc.add_secure_port, files=files) if files else self._grpc.add_insecure_port
        self.address = self._listener.bind(add_port)
        if self._config.metrics_listen:
            self.metrics_address = self._listen_metrics(self._config.metrics_listen)
        self.door.loading = True
        for name in ("", *SERVICES[:4]):
            await self.door.health.set(name, NOT_SERVING)
        self._engine.start(self._port)
        await self._grpc.start()
        log.info("door: %s (%s)", self._choice.name, self._choice.reason)
        if files:
            log.info("TLS: %s", files)
        log.info("listening on %s, metrics on %s", self.address, self.metrics_address or "no address")

    async def load(self) -> None:
        """Loads all bundles of the folder, and serves them.

        Raises:
            ServiceError: a bundle cannot be loaded.
            BundleError: there is no such folder, a spec in it cannot be read, or two folders bear the same model.
        """
        specs = await detached(partial(read_specs, self._config.models))
        check_distinct(specs)
        names = {spec.name for spec in specs.values()}
        for name in names:
            await self.door.health.set(name, NOT_SERVING)
        await self._compile()
        await self._load(list(specs))
        self.door.loading = False
        for name in ("", *SERVICES[:4], *names):
            await self.door.health.set(name, SERVING)
        self._traffic.is_served = True

    async def _compile(self) -> None:
        began = time.monotonic()
        log.info("making ready: the first start on a machine compiles for some seconds")
        await detached(warm_up_jit)
        await detached(warm_up_columns)
        log.info("made ready in %.1f s", time.monotonic() - began)

    async def _load(self, bundles: Sequence[Path]) -> None:
        began = time.monotonic()
        if not bundles:
            log.warning("no models in %s: put a bundle there and load it by LoadModel", self._config.models)
            return
        log.info("loading %d models from %s", len(bundles), self._config.models)
        with self._preparation.over(len(bundles)):
            for bundle in bundles:
                await self.models.load(bundle)
        log.info("loaded %d models in %.1f s", len(bundles), time.monotonic() - began)

    async def stop(self) -> None:
        """Refuses what is new, answers what is admitted, and stops. Loads end at once."""
        began = time.monotonic()
        log.info("stopping: what was admitted is answered, for at most %g s", self._config.drain_seconds)
        self.door.draining = True
        self.door.end_loads()
        self._preparation.stop()
        await self._serve_no_more()
        self._port.post(self._inference.end_streams)
        self._port.post(self._open_inference.end_streams)
        self._grpc.cancel(ENDLESS)
        drain_seconds = self._config.drain_seconds
        await self._grpc.stop(min(drain_seconds, FAILED_DRAIN_SECONDS) if self.failed.is_set() else drain_seconds)
        await asyncio.to_thread(self._engine.stop)
        if self._scraped:
            self._scraped[0].shutdown()
            self._scraped[0].server_close()
        self._listener.release()
        log.info("stopped in %.1f s", time.monotonic() - began)

    def _fail(self, error: EngineFailed) -> None:
        # All that is open is answered, and what comes is refused from now on. On the engine's thread.
        self._inference.fail_streams(error)
        self._open_inference.fail_streams(error)
        self._engine.loop_calls.put(self._end_failed)

    def _end_failed(self) -> None:
        self.door.fail_calls()
        self._failing = asyncio.get_running_loop().create_task(self._serve_no_more())
        self.failed.set()

    async def _serve_no_more(self) -> None:
        for name in ("", *SERVICES[:4], *self.catalogue.directories):
            await self.door.health.set(name, NOT_SERVING)

    def _register(self) -> None:
        server: Any = self._grpc  # takes handlers as grpc's own servers do
        models_pb2_grpc.add_ModelsServicer_to_server(ModelsService(self.door), server)
        sessions_pb2_grpc.add_SessionsServicer_to_server(SessionsService(self.door, self._session_calls), server)
        inference_pb2_grpc.add_InferenceServicer_to_server(self._inference, server)
        grpc_service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self._open_inference, server)
        health_pb2_grpc.add_HealthServicer_to_server(self.door.health, server)
        reflected: Any = reflection_pb2_grpc
        reflected.add_ServerReflectionServicer_to_server(reflection.aio.ReflectionServicer(SERVICES), server)

    def _session_calls(self, model: str) -> SessionCalls:
        return SessionCalls(self.catalogue.directory(model), self._engine.clock, self._engine.worker_of)

    def _listen_metrics(self, address: Address) -> str:
        try:
            registry = ScrapedRegistry(self.metrics.registry, self._port.post)
            self._scraped = start_http_server(address.port, address.host, registry)
        except OSError as error:
            raise PortInUseError(f"cannot listen on {address} for metrics: {error.strerror}") from error
        return str(address.with_port(self._scraped[0].server_port))
