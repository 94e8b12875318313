"""Answers that do not arrive: the server has done what was asked, and the SDK sees its connection cut."""

import contextlib
from collections.abc import Iterator
from typing import Any

from google.protobuf.message import Message

from elman import UnavailableError
from elman._shared.errors import ErrorDetails
from elman._shared.transport import Transport


@contextlib.contextmanager
def losing_answers(kind: type[Message], count: int = 1) -> Iterator[list[Any]]:
    """Of the next calls with requests of that kind; what was lost, in order."""
    lost: list[Any] = []
    once = Transport._once

    async def lossy(self: Transport, method: Any, request: Any, deadline: Any) -> Any:
        answer = await once(self, method, request, deadline)
        if isinstance(request, kind) and len(lost) < count:
            lost.append(answer)
            return UnavailableError("the connection was cut", ErrorDetails("UNAVAILABLE"))
        return answer

    Transport._once = lossy  # type: ignore[assignment, method-assign]
    try:
        yield lost
    finally:
        Transport._once = once  # type: ignore[method-assign]
