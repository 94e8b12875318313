"""`elman-server`: the command line."""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from elman_server.cli import bench, completion, health, models, serve, sessions
from elman_server.cli.bundles import check, pack, plans
from elman_server.cli.command import Parser, fail
from elman_server.cli.version import PrintVersion
from elman_server.config.server_config import LogConfig
from elman_server.telemetry.logs import set_up_logging

COMMANDS = (serve, pack, check, plans, health, models, sessions, bench, completion)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = Parser(
        prog="elman-server",
        description="Serves stacked recurrent networks over gRPC.",
        epilog="Exit codes: 0 done, 1 failed, 2 asked wrongly.",
    )
    parser.add_argument(
        "--version", action=PrintVersion, help="print the version of this server, and of what it runs on"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code: 0 done, 1 failed, 2 asked wrongly."""
    # What gRPC's own core writes to the standard error is in no format of ours, and said in our messages, too.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that cannot show a name is no error
    parser = make_parser()
    if "_ARGCOMPLETE" in os.environ:
        completion.complete(parser)
    given = parser.parse_args(arguments)
    set_up_logging(LogConfig())
    try:
        code: int = given.run(given)
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    except BrokenPipeError:  # whoever read the output, `head` say, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    return code


if __name__ == "__main__":
    sys.exit(main())
