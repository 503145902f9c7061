"""Deliver bytes to a codec as a connection would, and write down what came of them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from smoothserve.protocol.events import Codec, EndOfRequest, Limits, Malformed, Request

MakeCodec = Callable[[Limits], Codec]


@dataclass
class Served:
    """One request, as far as it came."""

    request: tuple[object, ...]
    body: bytes = b""
    complete: bool = False


@dataclass
class Outcome:
    """What came of a stream: the requests in their order, and the status of the refusal that ended it, if any."""

    served: list[Served] = field(default_factory=list)
    refused: int | None = None

    def summary(self) -> list[object]:
        """Return what a case of the corpus expects: a tuple for each complete request, a status at the end."""
        seen: list[object] = []
        for one in self.served:
            method, raw_path = one.request[0], one.request[2]
            seen.append((method, raw_path, one.body) if one.complete else "incomplete")
        return seen if self.refused is None else [*seen, self.refused]


def fields_of(request: Request) -> tuple[object, ...]:
    """Return all that is known of a request, for comparing."""
    return (
        request.method,
        request.target,
        request.raw_path,
        request.query_string,
        request.http_version,
        tuple(request.headers),
        request.keep_alive,
        request.content_length,
        request.chunked,
        request.expect_continue,
        request.upgrade,
    )


class Delivery:
    """A connection's side of a codec: takes events, answers each request at its end."""

    def __init__(self, codec: Codec, *, answer_at_once: bool = True, take_known: bool = False) -> None:
        self.codec = codec
        self.take_known = take_known
        self.answer_at_once = answer_at_once
        self.outcome = Outcome()
        self.unanswered = False

    def receive_data(self, data: bytes) -> None:
        if self.take_known and self.codec.at_boundary:
            known = self.codec.take_known(data)
            if known is not None:
                assert not self.codec.events
                self.outcome.served.append(Served(fields_of(known), complete=True))
                self.codec.next_request()
                return
            whole = self.codec.take_whole(data)
            if whole is not None:
                assert not self.codec.events
                known, body = whole
                assert body
                self.outcome.served.append(Served(fields_of(known), body=body, complete=True))
                self.codec.next_request()
                return
        self.codec.receive_data(data)
        self.take()

    def receive_eof(self) -> None:
        self.codec.receive_eof()
        self.take()

    def answer(self) -> None:
        """Answer the request whose end has come, and those behind it."""
        while self.unanswered:
            self.unanswered = False
            self.codec.next_request()
            self.take()

    def take(self) -> None:
        events = self.codec.events
        served = self.outcome.served
        while events:
            assert self.outcome.refused is None, "an event after Malformed"
            assert not self.unanswered, "an event of the next request before next_request"
            event = events.popleft()
            if isinstance(event, Request):
                assert not served or served[-1].complete
                served.append(Served(fields_of(event)))
            elif isinstance(event, Malformed):
                assert event.reason
                self.outcome.refused = event.status
            elif isinstance(event, EndOfRequest):
                served[-1].complete = True
                if self.answer_at_once:
                    self.codec.next_request()
                else:
                    self.unanswered = True
            else:
                assert type(event) is bytes
                assert event, "an empty part of a body"
                served[-1].body += event


def deliver(
    codec: Codec, pieces: Iterable[bytes], *, eof: bool = False, answer_at_once: bool = True, take_known: bool = False
) -> Outcome:
    """Deliver pieces of a stream one by one, and write down what came of them."""
    delivery = Delivery(codec, answer_at_once=answer_at_once, take_known=take_known)
    for piece in pieces:
        delivery.receive_data(piece)
    if eof:
        delivery.receive_eof()
    delivery.answer()
    return delivery.outcome


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Cut data at places."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges)]


def single_bytes(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]
