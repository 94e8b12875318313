"""Fault isolation: a bug in one callback is logged, and does not keep the others from being called."""

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


def isolated(function: Callable[[], object], what: str) -> bool:
    """Calls `function`; whether it returned. If not, the log says that there is a bug in `what`."""
    try:
        function()
    except Exception:  # noqa: BLE001 - it is logged
        log_bug(what)
        return False
    return True


def log_bug(what: str) -> None:
    """Logs the exception that is handled, as a bug in `what`."""
    log.exception("a bug in %s", what)
