"""One request and its answer through WSGI, seen from the loop: the body in, the call on a thread, the answer out.

Implements `Exchange`, and `Job` for the pool. All methods but `run` and what it calls run on the loop's thread, and
only they touch the connection. Runs per request: this is the hot path.
"""

from io import BytesIO
from typing import TYPE_CHECKING
from wsgiref.types import WSGIEnvironment

from smoothserve.protocol.events import Request
from smoothserve.protocol.exchange import ExchangeConnection
from smoothserve.protocol.response import Response
from smoothserve.wsgi.body import AwaitedInput, RequestBody, storage_advice
from smoothserve.wsgi.call import Call

if TYPE_CHECKING:
    from smoothserve.wsgi.application import WSGIApplication

#: What is written for one exchange before others have their turn: bytes, and times that the output is looked at (an
#: application that yields small parts adds further ones meanwhile).
BURST_BYTES = 1024 * 1024
BURST_TAKES = 8

#: Methods that change nothing (RFC 9110 section 9.2.1).
_SAFE = frozenset(["GET", "HEAD", "OPTIONS"])


class WSGIExchange(Call):
    """One request in the hands of a WSGI application."""

    def __init__(self, application: "WSGIApplication", connection: ExchangeConnection, request: Request) -> None:
        self.request = request
        self.response = Response(request.method, request.http_version, request.keep_alive)
        self.whole = None
        self.output = None
        self.abandoned = False
        self._bodiless = False
        self._declared = None
        self._head_sent = False
        self._application = application
        self._connection = connection
        self.dropped = False
        self._body: RequestBody | None = None
        self._awaited: AwaitedInput | None = None
        self._submitted = False
        self._reported = False
        """The connection has been told of the call's return."""
        self._over = False
        """Nothing more is to be written: the answer is finished, or its client has gone."""
        self._started: bool
        """Where there is a body: `start` has been called."""
        self._continuing = False
        """`_continue` will be called."""
        if not request.quick and request.has_body:
            self._started = False
            self._body = RequestBody(application.loop, connection, application.spool_bytes, self._body_complete)

    # from the connection

    def start(self) -> None:
        """Hand the call to a thread as soon as the body is complete; at once if the client waits to be asked for it."""
        body = self._body
        if body is None:
            self._submitted = True
            self._application.pool.submit(self)
            return
        self._started = True
        if body.complete or body.error is not None:
            self._submit()
        elif not self.request.expect_continue:
            pass  # the body comes by itself
        elif self.request.chunked:
            # Its length is not known before it is here, and applications that go by CONTENT_LENGTH (Django) would find
            # it empty: this one is asked for at once.
            self._connection.send_continue()
        else:
            self._awaited = AwaitedInput(self._ask_for_body, body)
            self._submit()

    def data_received(self, data: bytes) -> None:
        """Take a part of the request body."""
        if self._body is not None:
            self._body.receive_data(data)

    def body_ended(self) -> None:
        """Take note that the request body is complete."""
        if self._body is not None:
            self._body.receive_end()

    def input_ended(self) -> None:
        """Go on: a call cannot be told, and its answer can still be sent."""

    def client_left(self) -> None:
        """Let the call end as soon as it can."""
        self._abandon()

    def writable_again(self) -> None:
        """Write on."""
        if not self._over:
            self._write()
            self._clean_up()

    def cancel(self) -> None:
        """Let the call end as soon as it can; a thread cannot be cut off."""
        self._abandon()

    @property
    def awaited(self) -> bool:
        """Whether the client has done its part and nothing of the answer has been sent to it."""
        if self._over or not self._submitted or not (self.response.head_pending or not self.response.started):
            return False
        return self._awaited is None or self._body is None or self._body.complete

    def time_out(self, timeout: float) -> None:
        """Answer 504 in the application's place after `timeout` seconds. A call that waits for a thread is not made."""
        self._application.note_timed_out(self, timeout)
        self.dropped = True
        self._connection.request_timed_out(self)

    def _abandon(self) -> None:
        self._drop_output()
        self._end_input()
        if not self._submitted:
            self._report()
        self._clean_up()

    # the body

    def _body_complete(self) -> None:
        if self._awaited is not None:
            self._awaited.settle()
        elif self._started:
            self._submit()

    def _ask_for_body(self) -> None:
        """Ask the client for the body. On the application's thread."""
        self._application.loop.call_soon_threadsafe(self._send_continue)

    def _send_continue(self) -> None:
        if not self._over:
            self._connection.send_continue()

    # the call

    def _submit(self) -> None:
        if self._submitted or self._reported:
            return
        if self._body is not None and self._body.error is not None:
            self._log_error(f"the request body could not be stored ({storage_advice(self._body.error)})")
            self._give_up()
            self._write()
            self._report()
            self._clean_up()
            return
        self._submitted = True
        self._application.pool.submit(self)

    def run(self) -> None:
        """Make the application's call. On an application thread."""
        # Nobody would notice the call of a safe method for a client that has gone.
        if not (self.abandoned and (self.dropped or self.request.method in _SAFE)):
            self._make_call()

    def _make_environ(self) -> WSGIEnvironment:
        request = self.request
        body = self._body
        content_length = request.content_length
        if body is None:
            environ = self._application.environs.build(request, self._connection, content_length)
            environ["wsgi.input"] = BytesIO()
            return environ
        if content_length is None and self._awaited is None:
            content_length = body.size  # it was chunked, and is complete
        environ = self._application.environs.build(request, self._connection, content_length)
        environ["wsgi.input"] = body.open() if self._awaited is None else self._awaited
        return environ

    def _post(self) -> None:
        # Once for any number of parts that come before the loop looks.
        if not self._posted:
            self._posted = True
            self._application.pool.post(self)

    def deliver(self) -> None:
        """Write what the call has yielded."""
        self._posted = False  # first: what is put from now on is posted again
        if not (self._over or self._continuing):
            self._write()

    def finish(self) -> None:
        """Write what the call has yielded, and tell the connection of its return."""
        connection = self._connection
        whole = self.whole
        if whole:
            # Its thread knows us until its next call, which may be long hence.
            self.whole = b""
        try:
            if not self._over:
                if whole is not None and connection.writable:
                    self._write_whole(connection, whole)
                else:
                    self._write_rest(whole)
        finally:
            if not self._reported:
                self._reported = True
                connection.call_returned(self)
            if self._body is not None or self.output is not None:
                self._clean_up()

    def _report(self) -> None:
        if not self._reported:
            self._reported = True
            self._connection.call_returned(self)

    def _clean_up(self) -> None:
        """Give temporary files back, once neither the call nor the connection needs them."""
        if self._reported and self._over:
            if self.output is not None:
                self.output.close()
            if self._body is not None:
                self._body.discard()
                self._body = None
            self._awaited = None

    # the answer

    def _write_whole(self, connection: ExchangeConnection, body: bytes) -> None:
        """Pass on an answer that is here completely."""
        response = self.response
        if response.keep_alive and not connection.keep_alive_allowed():
            response.keep_alive = False
        connection.write(response.data_to_send(body, False))
        if response.error is not None:
            self._log_error(response.error)
            self._fail()
            return
        self._over = True
        if self._body is not None:
            self._end_input()
        connection.answer_finished(self)

    def _write_rest(self, whole: bytes | None) -> None:
        """Pass on what is there now that the call has returned: a whole body, for which there is no room, or more."""
        if whole is not None:
            output = self._open_output()
            output.put(whole)
            output.ended = True
        self._write()
        if self.output is None or not self.output.ended:  # a defect of ours has ended the call
            self._fail()

    def _write(self) -> None:
        """Pass on as much of the answer as the connection takes, but let others have their turn."""
        output = self.output
        if output is None:
            return
        connection = self._connection
        burst = takes = 0
        while connection.writable and not self._over:
            if burst > BURST_BYTES or takes == BURST_TAKES:
                if not self._continuing:
                    self._continuing = True
                    self._application.loop.call_soon(self._continue)
                return
            ended = output.ended
            try:
                data = output.take()
            except OSError as error:
                self._log_error(f"the answer could not be read back from its temporary file ({error})")
                self._fail()
                return
            burst += len(data)
            takes += 1
            last = ended and output.empty
            response = self.response
            if data or (last and not output.failed):
                if response.head_pending and response.keep_alive and not connection.keep_alive_allowed():
                    response.keep_alive = False
                connection.write(response.data_to_send(data, more=not last or output.failed))
            if response.error is not None:
                self._log_error(response.error)
                self._fail()
            elif last:
                if output.failed:
                    self._fail()
                else:
                    self._end_input()
                    connection.answer_finished(self)
            elif not data:
                return

    def _continue(self) -> None:
        self._continuing = False
        self.writable_again()

    def _fail(self) -> None:
        self._drop_output()
        self._end_input()
        self._connection.answer_failed(self)

    def _drop_output(self) -> None:
        """Take nothing more: what the thread still has for the client is not needed."""
        self.abandoned = True
        if self.output is not None:
            self.output.abandon()

    def _end_input(self) -> None:
        """Take note that the answer is over; what has not come of the body now will not come any more."""
        self._over = True
        if self._body is not None:
            self._body.detach()
        if self._awaited is not None:
            self._awaited.settle(gone=True)
