"""Fixtures of the server's tests; the end-to-end tests have the same."""

from served import folder, serve  # noqa: F401
