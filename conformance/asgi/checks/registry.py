"""The suite's checks; the modules beside this one fill it."""

from conformance.exchange import Checks

CHECKS = Checks()
check = CHECKS
