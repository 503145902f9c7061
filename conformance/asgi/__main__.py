"""Judge a server: `python -m conformance.asgi HOST:PORT`. It must serve `conformance.asgi.application:app`."""

import sys

from conformance.asgi.checks import CHECKS
from conformance.exchange import main

if __name__ == "__main__":
    sys.exit(main("asgi", CHECKS))
