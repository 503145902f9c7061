"""What a connection waits for, and what happens when it has waited long enough.

One coarse sweep over all connections compares deadlines; there is no timer for each. A head is bounded in all, a body
and an answer only by lack of progress (RFC 9110 section 15.5.9 for 408).
"""

from smoothserve.connection.base import BUSY, CLOSING, HALF_CLOSED, HEAD, IDLE, Connection
from smoothserve.connection.progress import Progress
from smoothserve.connection.service import Service
from smoothserve.protocol.exchange import Exchange


class Watched(Connection):
    """A connection that carries exchanges, as far as its deadlines go."""

    __slots__ = ("_body_bytes", "_body_done", "_continue_pending", "_discarding", "_exchange", "_receiving")

    def __init__(self, service: Service, client: tuple[str, int] | None, server: tuple[str, int | None] | None) -> None:
        super().__init__(service, client, server)
        self._exchange: Exchange | None = None
        self._body_bytes = 0
        """Of all requests so far: it only grows."""
        self._body_done = False
        self._receiving: Progress | None = None
        self._discarding = False
        """The answer is sent, and the rest of its request's body is thrown away."""
        self._continue_pending = False

    def _refuse(self, status: int, reason: str, method: str = "GET") -> None:
        """Answer what is no request that we serve, and close."""
        raise NotImplementedError

    def timed_out(self) -> None:
        """Do what is due at the deadline; called by the sweep."""
        phase = self._phase
        if phase in (IDLE, HEAD) and self.input_waits:
            return  # the loop was busy elsewhere: what has arrived in time is served first, the next sweep looks again
        if phase == IDLE:
            self._idle_timed_out()
        elif phase == HEAD:
            self._refuse(408, "the head did not come in time")
        elif phase == BUSY:
            self._watch()
        elif phase == HALF_CLOSED:
            if self._exchange is not None:
                self._exchange.input_ended()
            self._watch()
        elif phase == CLOSING:
            self._closing_timed_out()

    def _idle_timed_out(self) -> None:
        service = self._service
        if service.draining and service.now >= service.linger_limit(self):
            self._close_lingering()
        elif self._discarding or self._unsent():
            self._watch()
        elif self._sending is not None:
            # The last answer has been on its way until now.
            self._sending = None
            self.deadline = service.idle_deadline(self)
        elif service.draining:
            self._close_lingering()
        else:
            self._close()

    def _watch(self) -> None:
        """Go on if the client does its part: takes what is sent to it, sends what it has announced."""
        if self._takes_nothing():
            self._service.error_log.info(
                "connection closed: the client took nothing of its answer for %g s (client %s)",
                self._service.timeouts.write,
                self.client,
            )
            self._cut_off()
        elif self._sends_nothing():
            if self._exchange is None:
                self._close_lingering()
            else:
                self._refuse(408, "the body did not come in time")
        else:
            self.deadline = self._service.watch_at

    def _sends_nothing(self) -> bool:
        """Whether a body that is waited for has made no progress for too long."""
        waited_for = self._discarding or (self._exchange is not None and not self._body_done)
        if not waited_for or self._read_holds or self._continue_pending:
            self._receiving = None
            return False
        service = self._service
        if self._receiving is None:
            self._receiving = Progress(self._body_bytes, service.now)
            return False
        stalled = self._receiving.stalled(self._body_bytes, service.now, service.least_body_bytes)
        return stalled >= service.timeouts.body
