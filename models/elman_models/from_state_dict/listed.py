"""Attributes that are numbered, as `nn.ModuleList` and `nn.Sequential` name what is in them."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise


def listed(prefix: str) -> tuple[str, int] | None:
    """The list and the number in it: ("fc", 2) of `fc.2`, ("", 0) of `0`; None of what is in none."""
    parent, _, number = prefix.rpartition(".")
    return (parent, int(number)) if number.isascii() and number.isdecimal() and len(number) < 5 else None


def comes_before(one: str, other: str) -> bool | None:
    """Whether `one` stands before `other` in the same list; None where they are in none."""
    place, of = listed(one), listed(other)
    return place < of if place and of and place[0] == of[0] else None


def distances(prefixes: Iterable[str]) -> list[int]:
    """How far each is from the one before, of those that are in one list: 2 of `fc.0` and `fc.2`."""
    places = [listed(prefix) for prefix in prefixes]
    return [b[1] - a[1] for a, b in pairwise(places) if a and b and a[0] == b[0]]


def without_weights(prefixes: Sequence[str], explained: Iterable[str]) -> Iterator[str]:
    """The numbers that are missing in the lists of `prefixes`, below each list's last, except those between the first
    and the last of `explained`: in a Sequential they are modules without weights."""
    places = [place for prefix in prefixes if (place := listed(prefix))]
    known = [place for prefix in explained if (place := listed(prefix))]
    for parent in dict.fromkeys(parent for parent, _ in places):
        own = {number for of, number in places if of == parent}
        between = [number for of, number in known if of == parent]
        for number in range(max(own)):
            if number not in own and not (between and min(between) < number < max(between)):
                yield f"{parent}.{number}" if parent else str(number)
