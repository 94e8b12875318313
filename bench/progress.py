"""Progress: what runs now, on the terminal's error stream."""

import sys
from collections.abc import Iterator


def rounds(name: str, count: int) -> Iterator[int]:
    """Counts rounds, and says so."""
    for index in range(count):
        say(f"{name}: round {index + 1} of {count}")
        yield index


def say(text: str) -> None:
    """One line."""
    print(f"bench: {text}", file=sys.stderr, flush=True)
