"""`PYTHONPATH=tests:images python3 -m demo up|down|watch`."""

import sys

from demo.cli import main

sys.exit(main())
