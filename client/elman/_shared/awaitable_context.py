"""What can be awaited, and closed by hand, or entered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar


class _Closing(Protocol):
    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


OpenT = TypeVar("OpenT", bound=_Closing)


class AwaitableContext(Generic[OpenT]):
    """`x = await model.session()`, to be closed by hand, or `async with model.session() as x`."""

    def __init__(self, opener: Callable[[], Awaitable[OpenT]]) -> None:
        self._open = opener
        self._opened: OpenT | None = None

    def __await__(self) -> Generator[Any, None, OpenT]:
        return self._open().__await__()

    async def __aenter__(self) -> OpenT:
        self._opened = await self._open()
        return await self._opened.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.__aexit__(kind, error, trace)
