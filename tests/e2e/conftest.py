"""The end-to-end tests use what the server's and the models' tests are made of."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "server"), str(TESTS / "models")]

from served import folder, serve  # noqa: F401
