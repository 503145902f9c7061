"""One ASGI exchange each: scope, receive and send; lifespan."""
