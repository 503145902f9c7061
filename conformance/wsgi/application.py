"""The application to be served, in one process: runs the application's side of each check, and tells its result.

Each side but those that break a rule on purpose runs within `wsgiref.validate`, which looks at every call and value.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

from conformance.exchange import Failure
from conformance.wsgi.checks import CHECKS, UNVALIDATED
from conformance.wsgi.tools import Environ, IntendedError, StartResponse, answer

RESULTS: dict[str, str] = {}


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Serve as WSGI."""
    _, kind, name, *rest = environ["PATH_INFO"].split("/")
    if kind == "result":
        status = "200 OK" if name in RESULTS else "404 Not Found"
        return answer(start_response, json.dumps({"fault": RESULTS.get(name)}).encode(), status)
    if kind != "check":
        return answer(start_response, b"no such path", "404 Not Found")
    return Run(name, rest[0], environ, start_response)


class Run:
    """The iterable of one check: keeps what is found until `close()`, which every server must call."""

    def __init__(self, name: str, number: str, environ: Environ, start_response: StartResponse) -> None:
        self._number = number
        self._fault = ""
        self._intended = False
        side: Callable[..., Any] = CHECKS[name].app
        if name not in UNVALIDATED:
            side = validator(side)
        self._result: Any = None
        self._iterator: Iterator[bytes] | None = None
        self._guard(lambda: self._call(side, environ, start_response))

    def _call(self, side: Callable[..., Any], environ: Environ, start_response: StartResponse) -> None:
        self._result = side(environ, start_response)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._iterator is None:
            self._iterator = self._guard(lambda: iter(self._result))
        iterator = self._iterator
        part: bytes = self._guard(lambda: next(iterator))
        return part

    def close(self) -> None:
        """Take note that it is over."""
        try:
            close = getattr(self._result, "close", None)
            if close is not None:
                self._guard(close)
        finally:
            RESULTS[self._number] = self._fault

    def _guard(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except StopIteration:
            raise
        except IntendedError:
            RESULTS.setdefault(self._number, "")
            raise
        except (Failure, AssertionError) as error:
            self._fault = self._fault or str(error) or "an assertion of wsgiref.validate"
            RESULTS[self._number] = self._fault
            raise
        except Exception as error:
            self._fault = self._fault or f"{type(error).__name__}: {error}"
            RESULTS[self._number] = self._fault
            raise
