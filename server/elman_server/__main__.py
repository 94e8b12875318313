"""`python -m elman_server`."""

import sys

from elman_server.cli import main

sys.exit(main())
