"""`elman-server serve`: a server from start to clean stop."""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

import torch

from elman_models.errors import BundleError
from elman_server.config.server_config import ServerConfig
from elman_server.door.rpc.listener import PortInUseError
from elman_server.errors import ServiceError
from elman_server.server import Server
from elman_server.threads.detached import are_left

log = logging.getLogger(__name__)

EXIT_FAILED = 70
"""The exit code after the engine has failed: sysexits.h's "internal software error"."""
MAX_FAILED_SECONDS = 15.0
"""From the engine's failure to the end of the process, at the latest: whatever still runs is not waited for."""

log = logging.getLogger(__name__)


def choose_device(name: str) -> torch.device:
    """The device of that name; for "auto" CUDA where there is one.

    Raises:
        ValueError: there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device: {name} was asked for, and {torch.cuda.device_count()} CUDA devices are there")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def set_threads(config: ServerConfig) -> None:
    """Has torch use the threads of the settings."""
    torch.set_num_threads(config.threads or max(1, torch.get_num_threads() - 1))


def serve(config: ServerConfig) -> int:
    """Serves until SIGTERM or SIGINT; the exit code."""
    code = _serve_to_end(config)
    if are_left():  # a load that the stop has ended: its thread computes on, and nobody waits for it
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _serve_to_end(config: ServerConfig) -> int:
    set_threads(config)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(config, choose_device(config.device)))
    except (PortInUseError, BundleError, ServiceError, ValueError) as error:
        _tell(f"elman-server: {error}", config, failed=True)
        return 1


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    # uvloop moves half as many messages again per second (bench/README.md); without it asyncio's own loop serves.
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _serve(config: ServerConfig, device: torch.device) -> int:
    stopped = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stopped.set)
    server = Server(config, device)
    await server.listen()
    try:
        if not await _is_loaded(server, stopped):
            return 0
        _settle_memory()
        _tell(_line(server, device), config)
        await _first_of(stopped, server.failed)
    finally:
        await _stop(server)
    return EXIT_FAILED if server.failed.is_set() else 0


async def _first_of(*events: asyncio.Event) -> None:
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for one in waiting:
        one.cancel()


async def _stop(server: Server) -> None:
    stopping, failed = asyncio.ensure_future(server.stop()), asyncio.ensure_future(server.failed.wait())
    await asyncio.wait({stopping, failed}, return_when=asyncio.FIRST_COMPLETED)  # it may fail while it drains
    failed.cancel()
    if server.failed.is_set():
        _end_in(MAX_FAILED_SECONDS)
    await stopping


async def _is_loaded(server: Server, stopped: asyncio.Event) -> bool:
    """Whether the models are loaded; not if a stop comes first.

    Raises:
        ServiceError, BundleError: one cannot be.
    """
    loading, stop = asyncio.ensure_future(server.load()), asyncio.ensure_future(stopped.wait())
    await asyncio.wait({loading, stop}, return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not loading.done():
        loading.cancel()
        await asyncio.wait({loading})
        return False
    loading.result()
    return True


def _settle_memory() -> None:
    # What importing torch and loading models made lives for as long as the process: without this the garbage collector
    # looks through all of it again and again, for nearly half of the loop's time per message (bench/README.md).
    gc.collect()
    gc.freeze()


def _end_in(seconds: float) -> None:
    # Ends the process after that time, if it is not over by then.
    timer = threading.Timer(seconds, os._exit, (EXIT_FAILED,))
    timer.daemon = True
    timer.start()


def _tell(line: str, config: ServerConfig, *, failed: bool = False) -> None:
    # Whoever asked for JSON reads every line as such.
    if config.log.log_format == "json":
        log.log(logging.ERROR if failed else logging.INFO, "%s", line.removeprefix("elman-server: "))
    else:
        print(line, file=sys.stderr if failed else sys.stdout, flush=True)


def _line(server: Server, device: torch.device) -> str:
    names = [f"{r.spec.name} {r.spec.version}" for r in server.catalogue.runtimes()]
    metrics = f"metrics on http://{server.metrics_address}/metrics" if server.metrics_address else "no metrics"
    return f"elman-server: serving {', '.join(names) or 'no models'} on {server.address} ({device}); {metrics}"
