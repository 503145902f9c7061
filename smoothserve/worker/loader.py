"""Import the application and see which interface it has. The only place where application code enters a process."""

import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from smoothserve.errors import BootError

Interface = Literal["asgi", "wsgi"]


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
    for name in attribute.split("."):
        try:
            target = getattr(target, name)
        except AttributeError:
            raise AppNotFoundError(_no_attribute(spec, module_name, target, name)) from None
    if factory:
        if not callable(target):
            raise AppNotFoundError(f"{spec} is not callable, so it is no factory: leave --factory out")
        try:
            target = target()
        except BaseException as error:  # sys.exit, too
            raise _failed(f"the factory {spec} raised", error, 1) from error
    return target


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
        raise _failed(f"importing {module_name} raised", error, 0) from error
    except BaseException as error:  # sys.exit at import, too, fails the boot and nothing more
        raise _failed(f"importing {module_name} raised", error, 0) from error


def _failed(what: str, error: BaseException, own_frames: int) -> AppFailedError:
    last = traceback.format_exception_only(error)[-1].strip()
    trace = error.__traceback__
    if isinstance(error, SyntaxError) and _is_import_machinery(trace):
        trace = None
    while trace is not None and (own_frames >= 0 or _is_import_frame(trace.tb_frame.f_code.co_filename)):
        own_frames -= 1
        trace = trace.tb_next
    while trace is not None and _is_import_frame(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    # format_exception drops importlib's frames only where all of them are; the loop above drops the leading ones.
    text = "".join(traceback.format_exception(type(error), error, trace))
    return AppFailedError(f"{what} {last}", text)


def _is_import_frame(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or filename.endswith("importlib/__init__.py")


def _is_import_machinery(trace: Any) -> bool:
    frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(trace)]
    return all(_is_import_frame(name) for name in frames[1:])


def _no_attribute(spec: str, module_name: str, target: Any, name: str) -> str:
    names = [one for one in vars(target) if not one.startswith("_")] if hasattr(target, "__dict__") else []
    near = difflib.get_close_matches(name, names, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    path = getattr(target, "__file__", None)
    where = f" ({os.path.abspath(path)})" if path else ""
    return f"{module_name}{where} has no attribute {name!r}{hint} (asked for by {spec!r})"


def detect_interface(app: Any, spec: str) -> Interface:
    """See whether `app` is an ASGI 3 or a WSGI application. Raise `AppNotFoundError` if that cannot be told."""
    if not callable(app):
        raise AppNotFoundError(f"{spec} is {_described(app)}, not a callable: it is no WSGI or ASGI application")
    call: Callable[..., Any] = app
    while isinstance(call, partial):
        call = call.func
    if inspect.isclass(call):
        if hasattr(call, "__await__"):
            return "asgi"
        instance_call = vars(call).get("__call__") or getattr(call, "__call__", None)  # noqa: B004 - the class's own
        if inspect.iscoroutinefunction(instance_call):
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
        if not fits:
            hint = "; if it makes the application, use --factory" if _takes(signature, 0) else ""
            raise AppNotFoundError(
                f"{spec} takes neither (scope, receive, send) nor (environ, start_response): "
                f"it is no ASGI or WSGI application{hint}"
            )
    raise AppNotFoundError(
        f"{spec} could be an ASGI or a WSGI application: say which with --interface asgi or --interface wsgi"
    )


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def _described(value: Any) -> str:
    kind = type(value).__name__
    return f"a {kind}" if kind != "NoneType" else "None"
