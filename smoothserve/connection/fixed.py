"""One request that the server answers itself, without the application, whatever its body."""

from smoothserve.protocol.events import Request
from smoothserve.protocol.exchange import ExchangeConnection
from smoothserve.protocol.response import DefaultHeaders, Response


class FixedExchange:
    """Implements `Exchange` with an answer that is known beforehand."""

    awaited = False

    def __init__(
        self,
        connection: ExchangeConnection,
        request: Request,
        defaults: DefaultHeaders,
        status: int,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
    ) -> None:
        self.request = request
        self.response = Response(request.method, request.http_version, keep_alive=request.keep_alive)
        self.dropped = False
        self._connection = connection
        self._defaults = defaults
        self._answer = status, headers, body

    def start(self) -> None:
        """Answer."""
        connection, response = self._connection, self.response
        status, headers, body = self._answer
        if not connection.keep_alive_allowed():
            response.keep_alive = False
        response.start(status, headers, self._defaults)
        connection.write(response.data_to_send(body, more=False))
        connection.answer_finished(self)
        connection.call_returned(self)

    def data_received(self, data: bytes) -> None:
        """Do without the body."""

    def body_ended(self) -> None:
        """Do without the body."""

    def input_ended(self) -> None:
        """Nothing waits for it."""

    def client_left(self) -> None:
        """Nothing waits for it."""

    def writable_again(self) -> None:
        """Nothing waits for it."""

    def cancel(self) -> None:
        """Nothing is under way."""

    def time_out(self, timeout: float) -> None:
        """Nothing is under way."""
