"""Fixtures of the server's tests; the end-to-end tests have the same."""

from hypothesis import settings
from served import folder, serve  # noqa: F401

settings.register_profile("elman", deadline=None)  # other work on the machine is no failure
settings.load_profile("elman")
