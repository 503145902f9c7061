"""smoothserve: a WSGI and ASGI application server whose reload drops nothing."""

__version__ = "0.1.0"
