"""Scrapes: the metrics page, read once everything is counted that was answered before."""

import asyncio
import threading
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

MAX_WAIT_SECONDS = 1.0
"""A scrape waits no longer for the event loop, which never stands still for that long while it is well: whoever scrapes
a server in trouble is to have what there is. Prometheus gives up after 10 s."""


class ScrapedRegistry:
    """A registry as a scrape reads it, on a thread of its own.

    A batch is counted after its answers are sent, so that no caller waits for it: in the same turn of the event loop
    where the loop computes, else before the loop has the answers to send. So one turn of the loop after a scrape has
    come, everything is counted that any caller had an answer to by then.
    """

    def __init__(self, registry: CollectorRegistry, loop: asyncio.AbstractEventLoop) -> None:
        self._registry = registry
        self._loop = loop

    def collect(self) -> Iterable[Metric]:
        """All metrics; on any thread but the loop's."""
        self._await_turn()
        return self._registry.collect()

    def restricted_registry(self, names: Iterable[str]) -> Collector:
        """The metrics of these names, as they are now; on any thread but the loop's."""
        self._await_turn()
        return self._registry.restricted_registry(names)

    def _await_turn(self) -> None:
        turned = threading.Event()
        try:
            self._loop.call_soon_threadsafe(turned.set)
        except RuntimeError:  # the loop is closed: nothing is answered any more
            return
        turned.wait(MAX_WAIT_SECONDS)
