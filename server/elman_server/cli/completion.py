"""`elman-server completion`: what a shell needs to complete commands and options."""

import argparse
from typing import TYPE_CHECKING

from elman_server.cli.command import say

if TYPE_CHECKING:
    from elman_server.cli.command import Commands

SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")


def add(commands: "Commands") -> None:
    """Adds the command with its options."""
    parser = commands.add_parser(
        "completion",
        help="print what makes a shell complete this command line",
        description='Prints what makes a shell complete commands and options: eval "$(elman-server completion bash)".',
    )
    parser.add_argument("shell", choices=SHELLS, help="the shell to print it for")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> int:
    """Runs it; the exit code."""
    from argcomplete.shell_integration import shellcode

    say(shellcode(["elman-server"], shell=given.shell))
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Answers a shell that asks what may come next, and ends the process."""
    import argcomplete

    argcomplete.autocomplete(parser)
