"""Page sizes of lists."""

from elman_server.errors import InvalidInput

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


def page_size(asked: int) -> int:
    """How many items a page has: 0 asks for the default.

    Raises:
        InvalidInput: negative.
    """
    if asked < 0:
        raise InvalidInput(f"page_size: expected 0 or more, got {asked}")
    return min(asked or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
