"""`python -m flywheel_standin [--host H] [--port P]`: serves scripted stand-ins for the model roles."""

import sys

from flywheel_standin.server import main

if __name__ == "__main__":
    sys.exit(main())
