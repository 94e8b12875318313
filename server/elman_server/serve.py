"""`elman-server serve`: a server from start to clean stop."""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable

import torch

from elman_models.errors import BundleError
from elman_server.config import ServerConfig
from elman_server.errors import ServiceError
from elman_server.server import PortInUseError, Server

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
    set_threads(config)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(config, choose_device(config.device)))
    except (PortInUseError, BundleError, ServiceError, ValueError) as error:
        print(f"elman-server: {error}", file=sys.stderr)  # noqa: T201
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
    await server.start()
    # What importing torch and loading models made lives for as long as the process: without this the garbage collector
    # looks through all of it again and again, for nearly half of the loop's time per message (bench/README.md).
    gc.collect()
    gc.freeze()
    log.info("door: %s (%s)", server.listener.name, server.listener.reason)
    print(_line(server, device), flush=True)  # noqa: T201
    await stopped.wait()
    await server.stop()
    return 0


def _line(server: Server, device: torch.device) -> str:
    names = [f"{r.spec.name} {r.spec.version}" for r in server.catalog.runtimes()]
    return (
        f"elman-server: serving {', '.join(names) or 'no models'} on {server.address} ({device}); "
        f"metrics on http://{server.metrics_address}/metrics"
    )
