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
    find_interface,
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
    assert "in create" in info.value.traceback
    assert "in inner" in info.value.traceback
    assert "loader.py" not in info.value.traceback


def test_a_factory_that_raises_itself_shows_its_frame(app_dir: Path) -> None:
    write(app_dir, "direct.py", "def create():\n    return {}['DATABASE_URL']\n")
    with pytest.raises(AppFailedError, match=r"the factory direct:create raised KeyError: 'DATABASE_URL'") as info:
        load(app_dir, "direct:create", factory=True)
    assert 'direct.py", line 2, in create' in info.value.traceback
    assert "loader.py" not in info.value.traceback


def test_an_async_factory_is_told_and_leaves_no_warning(app_dir: Path) -> None:
    write(app_dir, "later.py", "async def create(): ...\n")
    with pytest.raises(AppNotFoundError, match=r"the factory later:create is async.*make it a plain function"):
        load(app_dir, "later:create", factory=True)


@pytest.mark.parametrize("interface", ["auto", "asgi", "wsgi"])
def test_a_coroutine_that_stands_for_an_application_is_told_and_leaves_no_warning(interface: str) -> None:
    with pytest.raises(AppNotFoundError, match=r"m:app is a coroutine, not a callable.*make it a plain function"):
        find_interface(asgi_function(None, None, None), "m:app", interface)


LAZY = """\
def __getattr__(name):
    if name == "absent":
        raise AttributeError(f"module has no attribute {name}")
    raise RuntimeError("lazy app")
"""
LEAVES = "def __getattr__(name):\n    import sys\n    sys.exit(0)\n"
PROPERTY = """\
class Site:
    @property
    def app(self):
        return self.settings

    @property
    def said(self):
        raise AttributeError("not configured")

site = Site()
"""


@pytest.mark.parametrize(
    ("body", "attribute", "last", "frame"),
    [
        (LAZY, "app", "RuntimeError: lazy app", "line 4, in __getattr__"),
        (LEAVES, "app", "SystemExit: 0", "line 3, in __getattr__"),
        (PROPERTY, "site.app", "AttributeError: 'Site' object has no attribute 'settings'", "line 4, in app"),
        (PROPERTY, "site.said", "AttributeError: not configured", "line 8, in said"),
    ],
)
def test_what_raises_while_the_attribute_is_looked_up_is_the_applications_failure(
    app_dir: Path, body: str, attribute: str, last: str, frame: str
) -> None:
    write(app_dir, "lazy.py", body)
    with pytest.raises(AppFailedError) as info:
        load(app_dir, f"lazy:{attribute}")
    name = attribute.rpartition(".")[2]
    assert str(info.value) == f"looking up {name!r} for lazy:{attribute} raised {last}"
    assert f'lazy.py", {frame}' in info.value.traceback
    assert "loader.py" not in info.value.traceback


def test_a_module_that_says_itself_that_it_has_no_such_attribute_is_believed(app_dir: Path) -> None:
    write(app_dir, "lazy.py", LAZY)
    with pytest.raises(AppNotFoundError, match="has no attribute 'absent'"):
        load(app_dir, "lazy:absent")


def test_the_object_that_lacks_the_attribute_is_named(app_dir: Path) -> None:
    write(app_dir, "good.py", "class Holder:\n    pass\nobj = Holder()\nobj.napp = 1\n")
    with pytest.raises(AppNotFoundError) as info:
        load(app_dir, "good:obj.app")
    assert str(info.value).startswith("obj (a Holder) in good (")
    assert "has no attribute 'app', did you mean 'napp'? (asked for by 'good:obj.app')" in str(info.value)


@pytest.mark.parametrize(
    ("body", "last"),
    [
        ("error = ValueError('multi')\nerror.add_note('a note')\nraise error", "ValueError: multi"),
        ("raise ValueError('one\\ntwo\\n three')", "ValueError: one two three"),
        ("import json\njson.loads('[')", "json.decoder.JSONDecodeError: Expecting value: line 1 column 2 (char 1)"),
    ],
)
def test_the_reason_is_one_line_without_notes(app_dir: Path, body: str, last: str) -> None:
    write(app_dir, "multi.py", body + "\n")
    with pytest.raises(AppFailedError) as info:
        load(app_dir, "multi:app")
    assert str(info.value) == f"importing multi raised {last}"


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


class ASGI2Class:
    def __init__(self, scope: Any) -> None: ...

    async def __call__(self, receive: Any, send: Any) -> None: ...


def asgi2_function(scope: Any) -> Any: ...


@pytest.mark.parametrize(
    ("app", "line"),
    [
        (None, "None, not a callable"),
        (3, "an int, not a callable"),
        (functools, "the module functools, not a callable"),
        (ASGIInstance, "name an instance, or use --factory"),
        (anything, "--interface asgi or --interface wsgi"),
        (lambda: None, "use --factory"),
        (ASGI2Class, "asgiref.compatibility.guarantee_single_callable"),
        (asgi2_function, "asgiref.compatibility.guarantee_single_callable"),
    ],
)
def test_what_is_no_application_is_told_in_one_line(app: Any, line: str) -> None:
    with pytest.raises(AppNotFoundError) as info:
        find_interface(app, "m:app", "auto")
    assert line in str(info.value)
    assert "m:app" in str(info.value)


@pytest.mark.parametrize("interface", ["asgi", "wsgi"])
@pytest.mark.parametrize("app", [None, 42, {}])
def test_a_named_interface_takes_a_callable_only(app: Any, interface: str) -> None:
    with pytest.raises(AppNotFoundError, match=r"m:app is .*not a callable"):
        find_interface(app, "m:app", interface)


def test_a_named_interface_is_taken_as_it_is() -> None:
    assert find_interface(anything, "m:app", "wsgi") == "wsgi"
    assert find_interface(anything, "m:app", "asgi") == "asgi"
