"""`elman-server plans`: shows which plan runs which batch."""

import argparse
from typing import TYPE_CHECKING

from elman_server.cli.command import fail, say
from elman_server.config.settings import SettingsError, add_options, read_settings
from elman_server.telemetry.logs import set_up_logging

if TYPE_CHECKING:
    from elman_server.cli.command import Commands


def add(commands: "Commands") -> None:
    """Adds the command with its options."""
    parser = commands.add_parser(
        "plans",
        help="show which plan runs which batch",
        description="Shows the bundles' plans, measured now or found in the cache. Options are those of serve.",
    )
    add_options(parser)
    parser.add_argument(
        "--again", action="store_true", help="measure anew, and replace what the cache has (default: once)"
    )
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Runs it; the exit code."""
    try:
        config = read_settings(given)
    except SettingsError as error:
        return fail(str(error), 2)
    set_up_logging(config.log)
    if given.again and not config.warm_up_seconds:
        return fail("--again: with warm_up_seconds 0 nothing is measured", 2)
    import torch

    from elman_models import BundleError, find_bundles
    from elman_server.cli.run_server import choose_device, set_threads
    from elman_server.models.loading import Preparation

    try:
        set_threads(config)
        prepare = Preparation(config, choose_device(config.device), again=given.again)
        for bundle in find_bundles(config.models):
            stack = prepare(bundle)
            say(
                f"{stack.spec.name} {stack.spec.version}, {torch.get_num_threads()} threads\n{stack.plans.describe()}\n"
            )
    except (BundleError, ValueError) as error:
        return fail(str(error))
    return 0
