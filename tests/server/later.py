"""Something asked for that is told later."""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Later(Generic[T]):
    """Asked for now; `tell` is handed what there is to tell."""

    def __init__(self) -> None:
        self._told: list[T] = []

    def tell(self, what: T) -> None:
        """Told, and only once."""
        assert not self._told, "told twice"
        self._told.append(what)

    @property
    def is_told(self) -> bool:
        """Whether it has been told."""
        return bool(self._told)

    def now(self) -> T:
        """What is told by now, at the latest."""
        assert self._told, "should have been told"
        return self._told[0]


class Together(Later[T]):
    """Told once all its parts are."""

    def __init__(self, parts: Sequence[Later[T]], join: Callable[[list[T]], T]) -> None:
        super().__init__()
        self._parts = parts
        self._join = join

    @property
    def is_told(self) -> bool:
        return all(part.is_told for part in self._parts)

    def now(self) -> T:
        return self._join([part.now() for part in self._parts])
