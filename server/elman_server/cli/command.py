"""What commands share."""

import argparse
import re
import sys
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
    """Where commands are added."""


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""All but tabs and the ends of lines."""


class Parser(argparse.ArgumentParser):
    """Tells in one line what was asked wrongly; takes options by their whole names alone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Ends the process with code 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def say(text: str) -> None:
    """Tells the one who called."""
    print(_shown(text), flush=True)  # noqa: T201


def fail(message: str, code: int = 1) -> int:
    """Says what went wrong; the exit code."""
    print(f"elman-server: {_shown(message)}", file=sys.stderr)  # noqa: T201
    return code


def _shown(text: str) -> str:
    """With what a terminal would obey, as a name or description of somebody's file may hold, in words."""
    return _CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
