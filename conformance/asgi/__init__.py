"""ASGI 3: scopes, events and their order, as an application sees them over a real socket."""
