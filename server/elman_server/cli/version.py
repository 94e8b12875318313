"""`elman-server --version`."""

import argparse
import platform
from importlib.metadata import version
from typing import Any, NoReturn

from elman_server.cli.command import say


class PrintVersion(argparse.Action):
    """Says the version, and those of what results depend on; imports none of it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, default=argparse.SUPPRESS, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Ends the process with code 0."""
        packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "grpcio", "numpy"))
        say(f"elman-server {version('elman-server')} (Python {platform.python_version()}, {packages})")
        parser.exit()
