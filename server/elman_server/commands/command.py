"""What commands share."""

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
    """Where commands are added."""


def say(text: str) -> None:
    """Tells the one who called."""
    print(text, flush=True)  # noqa: T201


def fail(message: str, code: int = 1) -> int:
    """Says what went wrong; the exit code."""
    print(f"elman-server: {message}", file=sys.stderr)  # noqa: T201
    return code
