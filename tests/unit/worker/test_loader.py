"""Finding, importing and recognising the application; each mistake gets a line that says what to do."""

import functools
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smoothserve.worker.loader import (
    AppFailedError,
    AppNotFoundError,
    detect_interface,
    load_application,
)


@pytest.fixture
def app_dir(tmp_path: Path) -> Iterator[Path]:
    before, path = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) is None or str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def write(directory: Path, name: str, text: str) -> None:
    place = directory / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(textwrap.dedent(text))


def load(app_dir: Path, spec: str, *, factory: bool = False) -> Any:
    return load_application(spec, app_dir=str(app_dir), factory=factory)


def test_dotted_modules_and_attributes_are_followed(app_dir: Path) -> None:
    write(app_dir, "shop/__init__.py", "")
    write(app_dir, "shop/site.py", "class holder:\n    class inner:\n        app = 'here'\n")
    assert load(app_dir, "shop.site:holder.inner.app") == "here"


def test_a_factory_is_called(app_dir: Path) -> None:
    write(app_dir, "made.py", "def create():\n    return 'made'\n")
    assert load(app_dir, "made:create", factory=True) == "made"


@pytest.mark.parametrize("spec", ["absent:app", "absent.deeper:app"])
def test_a_missing_module_is_one_line_that_names_it_and_the_place(app_dir: Path, spec: str) -> None:
    with pytest.raises(AppNotFoundError) as info:
        load(app_dir, spec)
    assert "'absent'" in str(info.value)
    assert str(app_dir) in str(info.value)
    assert "--app-dir" in str(info.value)
    assert "\n" not in str(info.value)


def test_a_missing_attribute_is_one_line_with_the_nearest_name(app_dir: Path) -> None:
    write(app_dir, "typo.py", "application = 1\n")
    with pytest.raises(AppNotFoundError, match=r"no attribute 'aplication', did you mean 'application'\?") as info:
        load(app_dir, "typo:aplication")
    assert str(app_dir / "typo.py") in str(info.value)


def test_a_module_missing_inside_the_application_is_its_failure_with_its_traceback(app_dir: Path) -> None:
    write(app_dir, "needy.py", "import not_installed_anywhere\n")
    with pytest.raises(AppFailedError, match="not_installed_anywhere") as info:
        load(app_dir, "needy:app")
    assert 'needy.py", line 1' in info.value.traceback


@pytest.mark.parametrize(
    ("body", "last"),
    [
        ("raise ValueError('boom')", "ValueError: boom"),
        ("import sys; sys.exit(4)", "SystemExit: 4"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("def broken(:", "SyntaxError: invalid syntax"),
    ],
)
def test_whatever_is_raised_at_import_is_told_with_the_applications_frames_only(
    app_dir: Path, body: str, last: str
) -> None:
    write(app_dir, "bad.py", body + "\n")
    with pytest.raises(AppFailedError) as info:
        load(app_dir, "bad:app")
    assert str(info.value) == f"importing bad raised {last}"
    assert 'bad.py", line 1' in info.value.traceback
    assert info.value.traceback.rstrip().endswith(last)
    assert "importlib" not in info.value.traceback
    assert "loader.py" not in info.value.traceback


def test_a_factory_that_raises_shows_its_own_frames(app_dir: Path) -> None:
    write(app_dir, "maker.py", "def create():\n    inner()\ndef inner():\n    raise RuntimeError('no')\n")
    with pytest.raises(AppFailedError, match="the factory maker:create raised RuntimeError: no") as info:
        load(app_dir, "maker:create", factory=True)
    assert "in inner" in info.value.traceback
    assert "loader.py" not in info.value.traceback


async def asgi_function(scope: Any, receive: Any, send: Any) -> None: ...


def wsgi_function(environ: Any, start_response: Any) -> Any: ...


class ASGIInstance:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


class WSGIInstance:
    def __call__(self, environ: Any, start_response: Any) -> Any: ...


class ASGIClass:
    def __init__(self, scope: Any, receive: Any, send: Any) -> None: ...

    def __await__(self) -> Any: ...


class WSGIClass:
    def __init__(self, environ: Any, start_response: Any) -> None: ...

    def __iter__(self) -> Any: ...


def returns_a_coroutine(scope: Any, receive: Any, send: Any) -> Any:
    return asgi_function(scope, receive, send)


def anything(*arguments: Any) -> Any: ...


@functools.wraps(wsgi_function)
def decorated(*arguments: Any, **named: Any) -> Any: ...


@pytest.mark.parametrize(
    ("app", "interface"),
    [
        (asgi_function, "asgi"),
        (wsgi_function, "wsgi"),
        (ASGIInstance(), "asgi"),
        (WSGIInstance(), "wsgi"),
        (ASGIClass, "asgi"),
        (WSGIClass, "wsgi"),
        (returns_a_coroutine, "asgi"),
        (decorated, "wsgi"),
        (functools.partial(asgi_function), "asgi"),
        (functools.partial(WSGIInstance()), "wsgi"),
        (WSGIInstance().__call__, "wsgi"),
    ],
)
def test_both_interfaces_are_recognised_as_functions_classes_and_instances(app: Any, interface: str) -> None:
    assert detect_interface(app, "m:app") == interface


def test_the_frameworks_applications_are_recognised() -> None:
    import django.core.handlers.asgi
    import django.core.handlers.wsgi
    from fastapi import FastAPI
    from flask import Flask
    from starlette.applications import Starlette

    assert detect_interface(FastAPI(), "m:app") == "asgi"
    assert detect_interface(Starlette(), "m:app") == "asgi"
    assert detect_interface(Flask("m"), "m:app") == "wsgi"
    wsgi = django.core.handlers.wsgi.WSGIHandler.__new__(django.core.handlers.wsgi.WSGIHandler)
    asgi = django.core.handlers.asgi.ASGIHandler.__new__(django.core.handlers.asgi.ASGIHandler)
    assert detect_interface(wsgi, "m:app") == "wsgi"
    assert detect_interface(asgi, "m:app") == "asgi"


@pytest.mark.parametrize(
    ("app", "line"),
    [
        (None, "None, not a callable"),
        (3, "a int, not a callable"),
        (ASGIInstance, "name an instance, or use --factory"),
        (anything, "--interface asgi or --interface wsgi"),
        (lambda: None, "use --factory"),
    ],
)
def test_what_is_no_application_is_told_in_one_line(app: Any, line: str) -> None:
    with pytest.raises(AppNotFoundError) as info:
        detect_interface(app, "m:app")
    assert line in str(info.value)
    assert "m:app" in str(info.value)
