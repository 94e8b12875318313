"""How what is done later, on another thread, tells what came of it."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
Tell = Callable[[Callable[[], T]], None]
"""Calls a function, and tells whoever waits what it gave or raised."""
