"""The orders in which `smoothserve connections` lists: what master, worker and verb agree on."""

from collections.abc import Callable
from typing import Any

#: Names of the orders, and the values by which the largest comes first.
ORDERS = {"age": "age", "busy": "busy", "requests": "requests", "received": "received", "sent": "sent"}
DEFAULT_ORDER = "age"


def sort_key(order: str) -> Callable[[dict[str, Any]], float]:
    """Return what puts connections, as they are told, into this order; into that of age if it is not known."""
    name = ORDERS.get(order, DEFAULT_ORDER)
    return lambda told: -float(told.get(name) or 0.0)
