"""Fault isolation: a bug in one callback is logged, and does not keep the others from being called."""

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


def isolated(function: Callable[[], object], what: str) -> bool:
    """Calls `function`; whether it returned. If not, the log says that there is a bug in `what`."""
    try:
        function()
    except Exception:
        log.exception("a bug in %s", what)
        return False
    return True
