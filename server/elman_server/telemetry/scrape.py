"""Scrapes: the metrics page, read once everything is counted that was answered before."""

import threading
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

MAX_WAIT_SECONDS = 1.0
"""A scrape waits no longer for the engine's turn: whoever scrapes a server in trouble is to have what there is.
Prometheus gives up after 10 s."""


class ScrapedRegistry:
    """A registry as a scrape reads it, on a thread of its own.

    A batch is counted after its answers are sent, so that no caller waits for it, but in the same turn of the engine.
    So between two turns after a scrape has come, everything is counted that any caller had an answer to by then.
    """

    def __init__(self, registry: CollectorRegistry, between_turns: Callable[[Callable[[], object]], None]) -> None:
        """`between_turns` has the engine's thread call a function, soon."""
        self._registry = registry
        self._between_turns = between_turns

    def collect(self) -> Iterable[Metric]:
        """All metrics; on any thread but the engine's."""
        self._await_turn()
        return self._registry.collect()

    def restricted_registry(self, names: Iterable[str]) -> Collector:
        """The metrics of these names, as they are now; on any thread but the engine's."""
        self._await_turn()
        return self._registry.restricted_registry(names)

    def _await_turn(self) -> None:
        turned = threading.Event()
        self._between_turns(turned.set)
        turned.wait(MAX_WAIT_SECONDS)
