"""Judge a server: `python -m conformance.wsgi HOST:PORT`. It must serve `conformance.wsgi.application:app`."""

import sys

from conformance.exchange import main
from conformance.wsgi.checks import CHECKS

if __name__ == "__main__":
    sys.exit(main("wsgi", CHECKS))
