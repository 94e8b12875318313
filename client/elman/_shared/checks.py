"""Checks of plain arguments: what was expected, and what came."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Sequence
from typing import Final, SupportsIndex, cast

import numpy as np

from elman._shared.errors import InvalidInputError

MAX_SECONDS: Final = 1e8
"""Three years: more than anyone waits for, and less than a clock or a `Duration` can hold."""
_METADATA_KEY: Final = re.compile(r"[0-9a-z_.-]+")


def check_seconds(name: str, value: object, *, may_be_zero: bool = False) -> None:
    """A finite time. Raises TypeError, InvalidInputError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number of seconds, got {value!r}")
    is_enough = value >= 0 if may_be_zero else value > 0
    if not (math.isfinite(value) and is_enough and value <= MAX_SECONDS):
        least = "at least 0" if may_be_zero else "more than 0"
        raise InvalidInputError(f"{name}: expected {least} and at most {MAX_SECONDS:g} seconds, got {value}")


def check_timeout(name: str, value: object) -> None:
    """A time limit, or None for no limit. Raises TypeError, InvalidInputError."""
    if value is not None:
        check_seconds(name, value)


def check_integer(name: str, value: object, least: int, most: int | None = None) -> None:
    """A whole number in a range. Raises TypeError, InvalidInputError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if value < least or (most is not None and value > most):
        limits = f"at least {least}" if most is None else f"{least} to {most}"
        raise InvalidInputError(f"{name}: expected {limits}, got {value}")


def check_switch(name: str, value: object) -> None:
    """True or False, NumPy's included. Raises TypeError."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {value!r}")


def check_text(name: str, value: object) -> None:
    """Text that UTF-8 can hold. Raises TypeError, InvalidInputError."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected text, got {value!r}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidInputError(f"{name}: expected text that UTF-8 can hold, got a lone surrogate in {value!r}")


def check_count(name: str, value: object) -> int:
    """A whole number of at least 1, NumPy's included. Raises TypeError, InvalidInputError."""
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        value = operator.index(value)
    check_integer(name, value, 1)
    return cast("int", value)


def check_metadata(metadata: object) -> None:
    """Pairs that gRPC can send. Raises TypeError, InvalidInputError."""
    for key, value in _pairs("metadata", metadata):
        is_binary = isinstance(key, str) and key.endswith("-bin")
        if not isinstance(key, str) or not isinstance(value, bytes if is_binary else str):
            kind = "bytes" if is_binary else "text"
            raise TypeError(f"metadata: expected a name and {kind}, got {(key, value)!r}")
        if not _METADATA_KEY.fullmatch(key) or key.startswith("grpc-"):
            raise InvalidInputError(
                f"metadata: expected names of a-z, 0-9 and -_. that don't begin with grpc-, got {key!r}"
            )
        if isinstance(value, str):
            check_header(f"metadata {key!r}", value)


def check_header(name: str, value: str) -> None:
    """Text that HTTP/2 can carry. The value may be a secret: it is not told. Raises InvalidInputError."""
    if not value.isascii() or not value.isprintable():
        raise InvalidInputError(f"{name}: expected printable ASCII text, got other characters")


def check_options(options: object) -> None:
    """Channel arguments. Raises TypeError."""
    for key, value in _pairs("options", options):
        if not isinstance(key, str) or not isinstance(value, int | str):
            raise TypeError(f"options: expected a name and an integer or text, got {(key, value)!r}")


def _pairs(name: str, value: object) -> list[tuple[object, object]]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise TypeError(f"{name}: expected a sequence of pairs, got {value!r}")
    for pair in value:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"{name}: expected pairs, got {pair!r}")
    return [(first, second) for first, second in value]
