"""The end-to-end tests use what the server's and the models' tests are made of."""

import sys
from pathlib import Path

for room in ("server", "models"):  # whose networks are served
    sys.path.append(str(Path(__file__).parents[1] / room))

from served import folder, serve  # noqa: F401
