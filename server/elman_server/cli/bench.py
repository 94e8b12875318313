"""`elman-server bench`: loads a running server."""

import argparse
from typing import TYPE_CHECKING

from elman_server.loadgen.options import add_options as add_bench_options

if TYPE_CHECKING:
    from elman_server.cli.command import Commands


def add(commands: "Commands") -> None:
    """Adds the command with its options."""
    parser = commands.add_parser(
        "bench",
        help="load a running server",
        description="Closed-loop load, or open-loop load with --rates, on a running server: a table, and with --out "
        "a JSON file and plots.",
    )
    add_bench_options(parser)
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Runs it; the exit code."""
    from elman_server.loadgen.command import command

    return command(given)
