"""A channel that is looked up at each call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc


class LateChannel:
    """Finds the open channel at each call, so that a stub's method outlives a channel."""

    def __init__(self, opened: Callable[[], grpc.aio.Channel]) -> None:
        self._opened = opened

    def unary_unary(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """As that of a channel."""
        return lambda *request, **call: self._opened().unary_unary(*arguments, **options)(*request, **call)

    def stream_stream(self, *arguments: Any, **options: Any) -> Callable[..., Any]:
        """As that of a channel."""
        return lambda *request, **call: self._opened().stream_stream(*arguments, **options)(*request, **call)
