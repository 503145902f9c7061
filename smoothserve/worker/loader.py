"""Import the application and see which interface it has. The only place where application code enters a process."""

import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, Literal, cast

from smoothserve.errors import BootError, one_line

Interface = Literal["asgi", "wsgi"]

_ASGI2 = (
    "{} takes one argument, as ASGI 2 applications do, which are not served: "
    "wrap it with asgiref.compatibility.guarantee_single_callable"
)


class AppNotFoundError(BootError):
    """The module or attribute that the user named does not exist: no traceback is needed."""


class AppFailedError(BootError):
    """Application code raised. `traceback` is the application's, from its first frame on."""

    def __init__(self, reason: str, trace: str) -> None:
        super().__init__(reason)
        self.traceback = trace


def load_application(spec: str, *, app_dir: str, factory: bool) -> Any:
    """Import `module:attribute` and return the object, called first if it is a factory.

    `app_dir` goes to the front of `sys.path` only now, so that a file of the application's never shadows a module of
    the server's or of the standard library that is already loaded. Raise `AppNotFoundError` or `AppFailedError`.
    """
    module_name, _, attribute = spec.partition(":")
    sys.path.insert(0, app_dir)
    # Directory listings that the import system has cached may be older than the deploy.
    importlib.invalidate_caches()
    module = _import(module_name, app_dir)
    target = module
    path = attribute.split(".")
    for depth, name in enumerate(path):
        try:
            found = getattr(target, name)
        except BaseException as error:  # a module's __getattr__ and a property are the application's code
            if isinstance(error, AttributeError) and _is_missing(error, target, name):
                raise AppNotFoundError(_no_attribute(spec, module, path[:depth], target, name)) from None
            raise _failed(f"looking up {name!r} for {spec} raised", error) from error
        target = found
    if factory:
        target = _make(target, spec)
    return target


def _make(factory: Any, spec: str) -> Any:
    if not callable(factory):
        raise AppNotFoundError(f"{spec} is not callable, so it is no factory: leave --factory out")
    try:
        made = factory()
    except BaseException as error:  # sys.exit, too
        raise _failed(f"the factory {spec} raised", error) from error
    if inspect.iscoroutine(made):
        made.close()
        raise AppNotFoundError(
            f"the factory {spec} is async, and no event loop runs yet when it is called: "
            "make it a plain function, and await in the lifespan start-up"
        )
    return made


def _import(module_name: str, app_dir: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # Only if the named module itself (or a package above it) is missing is the name the mistake.
        if error.name is not None and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise AppNotFoundError(
                f"no module named {error.name!r} in {app_dir} or on sys.path: "
                "name the application as MODULE:ATTRIBUTE, and its directory with --app-dir"
            ) from None
        raise _failed(f"importing {module_name} raised", error) from error
    except BaseException as error:  # sys.exit at import, too, fails the boot and nothing more
        raise _failed(f"importing {module_name} raised", error) from error


def _failed(what: str, error: BaseException) -> AppFailedError:
    trace = error.__traceback__
    # What comes before the application's first frame is ours and the import system's.
    while trace is not None and _is_servers_frame(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    text = "".join(traceback.format_exception(type(error), error, trace))
    return AppFailedError(f"{what} {one_line(error)}", text)


def _is_servers_frame(filename: str) -> bool:
    return (
        filename == __file__ or filename.startswith("<frozen importlib") or filename.endswith("importlib/__init__.py")
    )


def _is_missing(error: AttributeError, target: Any, name: str) -> bool:
    """Say whether the attribute is not there; false if it is, and raised the error while it was made."""
    if error.__traceback__ is None or error.__traceback__.tb_next is None:
        return True  # no code of the application's has run
    if error.name != name or error.obj is not target:
        return False
    try:
        inspect.getattr_static(target, name)
    except AttributeError:
        return True
    return False


def _no_attribute(spec: str, module: ModuleType, path: list[str], target: Any, name: str) -> str:
    names = [one for one in vars(target) if not one.startswith("_")] if hasattr(target, "__dict__") else []
    near = difflib.get_close_matches(name, names, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    file = getattr(module, "__file__", None)
    where = f" ({os.path.abspath(file)})" if file else ""
    owner = f"{'.'.join(path)} ({_described(target)}) in " if path else ""
    return f"{owner}{module.__name__}{where} has no attribute {name!r}{hint} (asked for by {spec!r})"


def find_interface(app: Any, spec: str, interface: str) -> Interface:
    """Return the interface that was named, or detect it for `auto`. Raise `AppNotFoundError` for no application."""
    if not callable(app):
        hint = ""
        if inspect.iscoroutine(app):
            app.close()
            hint = ", which an async function returned: make it a plain function, and await in the lifespan start-up"
        raise AppNotFoundError(f"{spec} is {_described(app)}, not a callable: it is no WSGI or ASGI application{hint}")
    return detect_interface(app, spec) if interface == "auto" else cast("Interface", interface)


def detect_interface(app: Callable[..., Any], spec: str) -> Interface:
    """See whether `app` is an ASGI 3 or a WSGI application. Raise `AppNotFoundError` if that cannot be told."""
    call: Callable[..., Any] = app
    while isinstance(call, partial):
        call = call.func
    if inspect.isclass(call):
        if hasattr(call, "__await__"):
            return "asgi"
        instance_call = vars(call).get("__call__") or getattr(call, "__call__", None)  # noqa: B004 - the class's own
        if inspect.iscoroutinefunction(instance_call):
            if _is_asgi2_class(call, instance_call):
                raise AppNotFoundError(_ASGI2.format(spec))
            raise AppNotFoundError(
                f"{spec} is a class whose instances are ASGI applications: name an instance, or use --factory"
            )
        return _by_signature(app, spec)
    if inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None)):  # noqa: B004
        return "asgi"
    return _by_signature(app, spec)


def _by_signature(app: Any, spec: str) -> Interface:
    try:
        signature = inspect.signature(app)
    except (TypeError, ValueError):
        signature = None
    if signature is not None:
        names = set(signature.parameters)
        fits = [count for count in (2, 3) if _takes(signature, count)]
        if fits == [3] or {"scope", "receive", "send"} <= names:
            return "asgi"
        if fits == [2] or {"environ", "start_response"} <= names:
            return "wsgi"
        if not fits and _takes(signature, 1):
            raise AppNotFoundError(_ASGI2.format(spec))
        if not fits:
            hint = "; if it makes the application, use --factory" if _takes(signature, 0) else ""
            raise AppNotFoundError(
                f"{spec} takes neither (scope, receive, send) nor (environ, start_response): "
                f"it is no ASGI or WSGI application{hint}"
            )
    raise AppNotFoundError(
        f"{spec} could be an ASGI or a WSGI application: say which with --interface asgi or --interface wsgi"
    )


def _is_asgi2_class(kind: type, instance_call: Any) -> bool:
    try:
        return _takes(inspect.signature(kind), 1) and not _takes(inspect.signature(instance_call), 4)
    except (TypeError, ValueError):
        return False


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _described(value: Any) -> str:
    if value is None:
        return "None"
    if inspect.ismodule(value):
        return f"the module {value.__name__}"
    kind = f"class {value.__name__}" if inspect.isclass(value) else type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
