"""All checks, by subject: importing them registers them."""

from conformance.asgi.checks import errors, lifespan, receiving, scopes, sending, websockets
from conformance.asgi.checks.registry import CHECKS

__all__ = ["CHECKS", "errors", "lifespan", "receiving", "scopes", "sending", "websockets"]
