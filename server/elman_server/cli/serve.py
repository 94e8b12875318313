"""`elman-server serve`: serves a folder of bundles."""

import argparse
import signal
import sys
from typing import TYPE_CHECKING

from elman_server.cli.command import fail
from elman_server.config.settings import SettingsError, add_options, read_settings
from elman_server.telemetry.logs import set_up_logging

if TYPE_CHECKING:
    from elman_server.cli.command import Commands


def add(commands: "Commands") -> None:
    """Adds the command with its options."""
    parser = commands.add_parser(
        "serve", help="serve a folder of bundles", description="Serves the bundles of a folder until SIGTERM or SIGINT."
    )
    add_options(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Runs it; the exit code."""
    try:
        config = read_settings(given)
    except SettingsError as error:
        return fail(str(error), 2)
    set_up_logging(config.log)
    # Until the server is up a stop ends the process at once; by default the first process of a container ignores it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from elman_server.cli.run_server import serve  # torch takes seconds to import: --help does not wait for it

    return serve(config)
