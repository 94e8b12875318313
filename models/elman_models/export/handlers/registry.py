"""Handlers by the name of torch's operation."""

from collections.abc import Callable

from elman_models.export.call import Call

Handler = Callable[[Call], object]
"""Gives what is known of the result: a `Traced`, or a list of them."""
HANDLERS: dict[str, Handler] = {}


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Registers a handler."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register
