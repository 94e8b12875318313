"""Dates of 1900 to 2099 as people write them, and as ISO 8601 has them, made from a seed. Needs NumPy alone."""

import datetime

import numpy as np
from numpy.typing import NDArray

FIRST, LAST = datetime.date(1900, 1, 1).toordinal(), datetime.date(2099, 12, 31).toordinal()
HELD_OUT_SHARE = 0.05
HELD_OUT_SEED = 1

MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August"),
    *("September", "October", "November", "December"),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

ISO_CHARACTERS = "0123456789-"
"""The decoder's tokens: their places here."""
START = len(ISO_CHARACTERS)
"""What the decoder reads before the first."""
ISO_LENGTH = 10


def split() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The ordinals of the days that are learned from, and of those held out, which no way of writing is learned of."""
    days = np.random.default_rng(HELD_OUT_SEED).permutation(np.arange(FIRST, LAST + 1))
    num_held_out = int(len(days) * HELD_OUT_SHARE)
    return days[num_held_out:], days[:num_held_out]


def written(day: datetime.date, random: np.random.Generator) -> str:
    """A day as somebody may write it."""
    month, name = MONTHS[day.month - 1], DAYS[day.weekday()]
    suffix = "th" if 10 < day.day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day.day % 10, "th")
    ways = (
        f"{month} {day.day}, {day.year}",
        f"{month[:3]} {day.day}, {day.year}",
        f"{month} {day.day}{suffix}, {day.year}",
        f"{day.day} {month} {day.year}",
        f"{day.day} {month[:3]} {day.year}",
        f"{day.day}{suffix} of {month} {day.year}",
        f"{name}, {day.day} {month} {day.year}",
        f"{name}, the {day.day}{suffix} of {month}, {day.year}",
        f"{name[:3]} {month[:3]} {day.day} {day.year}",
        f"{day.day}.{day.month}.{day.year}",
        f"in {day.year}, on {month} {day.day}",
    )
    text = ways[int(random.integers(len(ways)))]
    return (text, text.lower(), text.upper())[int(random.choice(3, p=(0.7, 0.2, 0.1)))]


def pairs(ordinals: NDArray[np.int64], random: np.random.Generator) -> list[tuple[str, str]]:
    """(as written, as ISO has it) of each day."""
    days = [datetime.date.fromordinal(int(one)) for one in ordinals]
    return [(written(day, random), day.isoformat()) for day in days]


def held_out(num: int) -> list[tuple[str, str]]:
    """The first `num` pairs of days that are held out, at most 3,652."""
    return pairs(split()[1][:num], np.random.default_rng(HELD_OUT_SEED))


def to_ids(text: str) -> NDArray[np.int64]:
    """[T] ASCII codes: the encoder's tokens."""
    return np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64)


def to_tokens(iso: str) -> list[int]:
    """The decoder's."""
    return [ISO_CHARACTERS.index(character) for character in iso]
