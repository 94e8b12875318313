"""What a fork leaves of gRPC in the child, and how it comes to work there.

grpc.aio has one thread per process that waits inside of gRPC's core as long as any channel of it lives. gRPC's own
fork handlers skip a process that has a thread in there, and the child then has locks and polling states of threads that
it does not have: its calls hang, or it aborts. When the last channel and call are let go of, that thread ends, the
handlers work, and the child has a gRPC like new; once the core's own threads have ended, too, which shut it down: a
lock that one of them holds as the process forks is never given back in the child. So before a fork the synchronous
clients let go of their connections, on the threads of their own loops, and after it the parent's connect again and
resume as over a cut. An open AsyncClient cannot be waited for: its loop may be the one that forks. Then clients refuse
to work in the child.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from elman._shared.errors import ForkError

_JOIN_SECONDS: Final = 2.0
_END_SECONDS: Final = 5.0
"""How long the core's threads are waited for that are seen to end: it takes a while where much else is to be done."""
_OFF: Final = ("0", "false", "no")
_CORE_THREADS: Final = ("grpc", "event_engine", "lifeguard", "timer", "resolver", "default-exec")
"""How the names of the core's own threads begin."""
_EMPTY_LOOKS: Final = 3
"""A millisecond apart, at which there are none: where one ends, another one may be about to begin that ends it all."""
_CORE_RESTS_SECONDS: Final = 0.15
"""Those that stay for so long are of channels that are not ours, and live on: gRPC's handlers know of them."""
_THREADS: Final = Path("/proc/self/task")
_STATUS: Final = Path("/proc/self/status")
_MAX_LISTINGS: Final = 1000


class Suspendable(Protocol):
    """A client's connection."""

    def suspend(self) -> None:
        """Lets go of all that is gRPC's, and waits until that is done."""

    def resume(self) -> None:
        """May connect again."""


class ForkGuard:
    """The process's connections."""

    def __init__(self) -> None:
        self._connections: weakref.WeakSet[Suspendable] = weakref.WeakSet()
        self._suspended: list[Suspendable] = []
        self._threads: set[threading.Thread] = set()  # that gRPC started with our channels
        self._was_used = False
        self._is_unsafe = False  # this fork's child
        self._is_broken = False  # this process, since it was forked

    def check(self) -> None:
        """Raises ForkError in a process where gRPC would hang."""
        if self._is_broken:
            raise ForkError(
                "this process was forked while gRPC was in use by an AsyncClient, by grpc.aio, or with "
                "GRPC_ENABLE_FORK_SUPPORT off: gRPC cannot work here. Close the AsyncClient before forking, or start "
                'the process by "spawn" or "forkserver" (multiprocessing_context="spawn" of a DataLoader)'
            )

    def watch(self, connection: Suspendable) -> None:
        """Suspends it at forks, as long as it lives."""
        self._connections.add(connection)

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        """Around the making of a channel: the threads that appear are gRPC's."""
        before = set(threading.enumerate())
        yield
        self._threads |= set(threading.enumerate()) - before
        self._was_used = True

    def before_fork(self) -> None:
        """In the parent: gRPC comes to rest, or the child is told that it did not."""
        if not self._was_used:
            return
        known = threads()
        self._suspended = list(self._connections)
        for connection in self._suspended:
            connection.suspend()
        if self._is_running():
            gc.collect()  # calls and exceptions refer to each other in circles
            for thread in self._threads:
                thread.join(_JOIN_SECONDS)
        _await_core(known)
        is_off = os.environ.get("GRPC_ENABLE_FORK_SUPPORT", "").lower() in _OFF
        self._is_unsafe = is_off or self._is_running()

    def after_fork_in_parent(self) -> None:
        """Connections go on."""
        suspended, self._suspended = self._suspended, []
        for connection in suspended:
            connection.resume()

    def after_fork_in_child(self) -> None:
        """Begins anew; what was inherited knows by its process id that it is not to be used."""
        self._is_broken = self._is_broken or self._is_unsafe
        self._connections = weakref.WeakSet()
        self._suspended = []
        self._threads = set()
        self._was_used = self._is_unsafe = False

    def _is_running(self) -> bool:
        self._threads = {thread for thread in self._threads if thread.is_alive()}
        return bool(self._threads)


def _await_core(known: set[str]) -> None:
    """Returns once gRPC's core has no threads, or none that end; where the system tells of threads. `known`: those that
    there were before the connections were let go of."""
    began = since = time.monotonic()
    there: set[str] = set()
    num_empty, has_collected = 0, False
    while num_empty < _EMPTY_LOOKS and time.monotonic() - began < _END_SECONDS:
        now = core_threads(known)
        num_empty = 0 if now else num_empty + 1
        # One that began meanwhile shuts the core down. It does not rest, however long it takes; nor does one that waits
        # for a processor.
        if now != there or now - known or any(map(_is_running, now)):
            there, since = now, time.monotonic()
        elif now and time.monotonic() - since > _CORE_RESTS_SECONDS:
            if has_collected:
                return  # they are of channels that are not ours
            has_collected = True
            gc.collect()  # what refers to itself in a circle may hold the last of ours
            since = time.monotonic()
        time.sleep(0.001)


def _is_running(number: str) -> bool:
    # Whether a thread runs, or would if there were a processor for it.
    with contextlib.suppress(OSError):  # it has ended meanwhile
        return (_THREADS / number / "stat").read_text().rpartition(")")[2].split()[0] in ("R", "D")
    return True


def threads() -> set[str]:
    """The numbers of the process's threads, where the system tells of them."""
    there: set[str] = set()
    with contextlib.suppress(OSError):  # not on Linux
        for _ in range(_MAX_LISTINGS):
            there = {thread.name for thread in _THREADS.iterdir()}
            # Linux leaves out a thread that lives where another one ends while it lists them. As many as there are, of
            # which none has ended since, are all.
            if len(there) == _num_threads() and all((_THREADS / number).exists() for number in there):
                break
    return there


def _num_threads() -> int:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.removeprefix("Threads:")) for line in lines if line.startswith("Threads:"))


def core_threads(known: set[str]) -> set[str]:
    """The numbers of the core's threads: by their names, or because they are not `known` and not Python's, since one
    that has just begun has no name yet."""
    there = threads() - {str(thread.native_id) for thread in threading.enumerate()}
    return {number for number in there if number not in known or _is_named_core(number)}


def _is_named_core(number: str) -> bool:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        return (_THREADS / number / "comm").read_text().startswith(_CORE_THREADS)
    return False


FORK_GUARD: Final = ForkGuard()
"""One for the process, as fork is the process's; registered before gRPC's handlers, so that it is asked after them."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=FORK_GUARD.before_fork,
        after_in_parent=FORK_GUARD.after_fork_in_parent,
        after_in_child=FORK_GUARD.after_fork_in_child,
    )
