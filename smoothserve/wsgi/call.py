"""One call of a WSGI application, on an application thread: `start_response`, the iteration, `close()` (PEP 3333).

Decides what is an error of the application's and what the client gets then. Must not touch the connection: what it has
for the client is left for the loop. Runs per request: this is the hot path.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from wsgiref.types import WSGIEnvironment

from smoothserve.protocol.events import Request
from smoothserve.protocol.response import InvalidResponseError, Response
from smoothserve.wsgi.body import ClientDisconnectedError
from smoothserve.wsgi.head import CONTENT_LENGTH, parse_headers, parse_status
from smoothserve.wsgi.output import TAKE_BYTES, Output
from smoothserve.wsgi.streams import FileWrapper

if TYPE_CHECKING:
    from smoothserve.wsgi.application import WSGIApplication

ERROR_HEADERS = [(b"content-type", b"text/plain; charset=utf-8")]
ERROR_BODY = b"Internal Server Error"
_NO_HEAD = "the application returned without calling start_response()"
_BODY_FIRST = "the application sent a body before it called start_response()"


class _RefusedError(Exception):
    """What the application has returned or yielded is no answer. No traceback would lead to it."""


class Call:
    """The application thread's half of an exchange. What it leaves for the loop is `response`, and the body.

    A body that is here completely when the call returns is left in `whole`, another one goes through `output`. The
    exchange makes all attributes: one constructor for each request, and no slots, for the interpreter makes instances
    of a plain class without leaving its loop (CPython 3.13).
    """

    request: Request
    response: Response
    whole: bytes | None
    """The whole body, once the call has returned."""
    output: Output | None
    """Made by the thread when it is needed."""
    abandoned: bool
    """Set by the loop: nothing will be taken any more."""
    _application: "WSGIApplication"
    _bodiless: bool
    _declared: int | None
    _head_sent: bool
    # Where there is an `output`: bytes that have been put there, and whether the loop is on its way to it.
    _sent: int
    _posted: bool

    def _make_environ(self) -> WSGIEnvironment:
        """Return the environ."""
        raise NotImplementedError

    def _post(self) -> None:
        """Tell the loop that there is something for it."""
        raise NotImplementedError

    def _make_call(self) -> None:
        """Call the application, iterate over what it returns and close that. Never raises."""
        iterable: Any = ()
        try:
            iterable = self._application.app(self._make_environ(), self.start_response)
            kind = type(iterable)
            if kind is list or kind is tuple:
                self._send_whole(iterable)
                return  # neither has anything to close
            self._send_each(iterable)
        except _RefusedError as error:
            self._log_error(str(error))
            self._give_up()
        except BaseException as error:  # noqa: BLE001 - SystemExit, too, must not end the thread
            self._log_exception(error, "exception in the application")
            self._give_up()
        if hasattr(iterable, "close"):
            self._close(iterable)

    # the application's side

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], None]:
        """Take status and headers (PEP 3333 "The start_response() Callable").

        Raise `InvalidResponseError` for what cannot be sent; with `exc_info`, once the head has been sent, that.
        """
        if exc_info:
            try:
                if self._head_sent:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
            if self.response.started:
                request = self.request
                self.response = Response(request.method, request.http_version, request.keep_alive)
                self._declared = None
        elif self.response.started:
            raise InvalidResponseError("start_response() was called a second time, without exc_info")
        defaults = self._application.defaults
        known = None
        key: object = None
        if type(headers) is list:
            key = (status, tuple(headers))
            try:
                known = defaults.heads.get(key)
            except TypeError:
                key = None  # lists for pairs
        if known is not None:
            self._declared = known.declared
            self._bodiless = known.bodiless or self.request.method == "HEAD"
            self.response.start_again(known, defaults)
        else:
            self._start(status, headers, key)
        return self.write

    def _start(self, status: str, headers: list[tuple[str, str]], key: object) -> None:
        """Start with what has not been seen before, and remember it by `key`."""
        application = self._application
        code, reason = parse_status(status)
        fields = parse_headers(headers, application.error_log)
        self.response.start(code, fields, application.defaults, reason)
        self._bodiless = code in (204, 205, 304) or self.request.method == "HEAD"
        for name, value in fields:
            if name is CONTENT_LENGTH:
                self._declared = int(value)
        if key is not None and reason is None and len(fields) == len(headers):
            # The key is as long as what is sent: nothing has been left out.
            application.defaults.remember_head(key, code, fields)

    def write(self, data: bytes, /) -> None:
        """Send a part of the body (PEP 3333 "The write() Callable"). Raise `ClientDisconnectedError` if it is vain."""
        if not isinstance(data, bytes):
            raise TypeError(f"write() takes bytes, not {type(data).__name__}")
        if self.abandoned:
            raise ClientDisconnectedError("the client has disconnected")
        if data:
            self._send(data)

    # the answer

    def _send_whole(self, parts: "list[bytes] | tuple[bytes, ...]") -> None:
        """Send a body that is here completely: its length is known."""
        if len(parts) == 1 and type(parts[0]) is bytes:
            data = parts[0]
        else:
            for part in parts:
                if not isinstance(part, bytes):
                    raise _RefusedError(
                        f"the application returned a {_name(parts)} with {_name(part)} in it, not bytes"
                    )
            data = b"".join(parts)
        output = self.output
        if output is None:
            # Nothing has been sent with `write()`.
            if not self.response.started:
                raise _RefusedError(_BODY_FIRST if data and self.request.method != "HEAD" else _NO_HEAD)
            self._head_sent = True
            self.whole = b"" if self._bodiless else data
            return
        if data and not self._bodiless:
            if output.ended:
                self._complain_of_length()
                return
            self._require_head()
            self._sent += len(data)
            output.put(data)
        self._end()

    def _open_output(self) -> Output:
        output = self.output
        if output is None:
            self._sent = 0
            self._posted = False
            output = Output(self._application.disk_bytes)
            # Who still calls `write()` when the answer is complete is too late.
            output.ended = self.whole is not None
            self.output = output
            # The loop has said so before it could see the output, or after: then it says it again.
            if self.abandoned:
                output.abandon()
        return output

    def _send_each(self, iterable: Any) -> None:
        """Send what the application yields, each part at once."""
        if isinstance(iterable, (str, bytes)) or not (
            hasattr(iterable, "__iter__") or hasattr(iterable, "__getitem__")
        ):
            raise _RefusedError(f"the application returned {_name(iterable)}, not an iterable of bytes")
        if type(iterable) is FileWrapper and self._send_file(iterable):
            return
        output = self._open_output()
        for data in iterable:
            if not isinstance(data, bytes):
                raise _RefusedError(f"the application yielded {_name(data)}, not bytes")
            if data and not self._send(data):
                break
            if output.abandoned:
                return
        self._end()

    def _send(self, data: bytes) -> bool:
        """Send a part of the body. Return whether there may be more."""
        output = self._open_output()
        if output.ended:
            if not self._bodiless:
                self._complain_of_length()
            return False
        self._require_head()
        if self._bodiless:
            output.ended = True
            self._post()
            return False
        self._sent += len(data)
        output.put(data)
        if self._declared is not None and self._sent >= self._declared:
            # The answer is complete, and need not wait for the application's last words.
            output.ended = True
        self._post()
        return True

    def _send_file(self, wrapper: FileWrapper) -> bool:
        """Send the rest of a large regular file, which the loop reads by itself. Return False if it is none."""
        output = self._open_output()
        extract = wrapper.regular_file()
        if extract is None or self._bodiless or output.ended:
            return False
        fd, offset, size = extract
        size -= offset
        if self._declared is not None:
            size = min(size, self._declared - self._sent)
        if size <= TAKE_BYTES:
            return False
        self._require_head()
        self._sent += size
        output.put_file(fd, offset, size)
        self._end()
        return True

    def _require_head(self) -> None:
        if not self._head_sent:
            if not self.response.started:
                raise _RefusedError(_BODY_FIRST)
            self._head_sent = True

    def _end(self) -> None:
        if not self._head_sent:
            if not self.response.started:
                raise _RefusedError(_NO_HEAD)
            self._head_sent = True
        self._open_output().ended = True

    def _close(self, iterable: Any) -> None:
        # The answer need not wait for this.
        self._post()
        try:
            iterable.close()
        except BaseException as error:  # noqa: BLE001 - SystemExit, too, must not end the thread
            self._log_exception(error, "exception in close() of what the application returned")

    # what goes wrong

    def _give_up(self) -> None:
        """Answer 500 in the application's place, or have the answer cut off where its head has been sent."""
        output = self._open_output()
        if output.ended or output.abandoned or self.whole is not None:
            return
        if self._head_sent:
            output.failed = True
        else:
            request = self.request
            self.response = Response(request.method, request.http_version, request.keep_alive)
            self.response.start(500, ERROR_HEADERS, self._application.defaults)
            output.put(ERROR_BODY)
        output.ended = True

    def _complain_of_length(self) -> None:
        self._log_error("the body is longer than its Content-Length; the rest was not sent")

    def _log_error(self, text: str) -> None:
        log = self._application.error_log
        log.error("%s: %s %s", text, self.request.method, self.request.target.decode("latin-1"))

    def _log_exception(self, error: BaseException, text: str) -> None:
        if _stems_from_disconnect(error):
            return  # the client's doing
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            # The traceback begins in the application, not in our call of it.
            error = error.with_traceback(error.__traceback__.tb_next)
        request = self.request
        log = self._application.error_log
        log.error("%s: %s %s", text, request.method, request.target.decode("latin-1"), exc_info=error)


def _name(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _stems_from_disconnect(error: BaseException | None) -> bool:
    """Whether `ClientDisconnectedError` is the error or what led to it (frameworks wrap it in their own)."""
    for _ in range(20):
        if error is None or isinstance(error, ClientDisconnectedError):
            break
        error = error.__cause__ or error.__context__
    return isinstance(error, ClientDisconnectedError)
