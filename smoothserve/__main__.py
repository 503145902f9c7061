"""`python -m smoothserve` is the command `smoothserve`."""

import sys

from smoothserve.cli import main

if __name__ == "__main__":
    sys.exit(main())
