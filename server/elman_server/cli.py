"""`elman-server`: the command line."""

import argparse
import logging
import sys
from collections.abc import Sequence

from elman_server.commands import bench, check, health, pack, plans, serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit code: 0 done, 1 failed, 2 asked wrongly."""
    parser = argparse.ArgumentParser(prog="elman-server", description="Serves stacked recurrent networks over gRPC.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (serve, pack, check, plans, health, bench):
        command.add(commands)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    code: int = given.run(given)
    return code


if __name__ == "__main__":
    sys.exit(main())
