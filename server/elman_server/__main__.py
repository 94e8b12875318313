"""`python -m elman_server`."""

import sys

from elman_server.cli.main import main

sys.exit(main())
