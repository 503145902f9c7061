"""One small answer through each framework, as `fastapi_app`, `flask_app`, `django_wsgi_app` and `django_asgi_app`.

Each is made only when its server asks for the attribute, so that a case imports no other framework.
"""

from typing import Any


def fastapi() -> Any:
    """Return a FastAPI application: a JSON answer from an async handler."""
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/")
    async def root() -> dict[str, str]:
        return {"hello": "world"}

    return app


def flask() -> Any:
    """Return a Flask application."""
    from flask import Flask

    app = Flask("benchmark")

    @app.get("/")
    def root() -> dict[str, str]:
        return {"hello": "world"}

    return app


def _set_up_django() -> None:
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF="tests.benchmarks.compare.django_urls",
            SECRET_KEY="benchmark only",
            MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
            LOGGING_CONFIG=None,
        )
        django.setup()


def django_wsgi() -> Any:
    """Return a Django application behind WSGI."""
    from django.core.wsgi import get_wsgi_application

    _set_up_django()
    return get_wsgi_application()


def django_asgi() -> Any:
    """Return a Django application behind ASGI."""
    from django.core.asgi import get_asgi_application

    _set_up_django()
    return get_asgi_application()


_FACTORIES = {
    "fastapi_app": fastapi,
    "flask_app": flask,
    "django_wsgi_app": django_wsgi,
    "django_asgi_app": django_asgi,
}


def __getattr__(name: str) -> Any:
    if name not in _FACTORIES:
        raise AttributeError(name)
    made = globals()[name] = _FACTORIES[name]()
    return made
