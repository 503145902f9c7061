"""What `send()` takes, and when it is on the wire (ASGI HTTP, "Response Start", "Response Body")."""

import asyncio
import contextvars
from collections.abc import Iterator

from conformance.asgi.checks.registry import check
from conformance.asgi.events import Receive, Scope, Send, answer, body, read_body, start
from conformance.exchange import Level, Talk, expect, expect_equal, get_fine

START = "Response Start - send event"
BODY = "Response Body - send event"
VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


@check(START)
async def start_alone_sends_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Nothing is sent before the first event of the body: the answer can still become another."""
    await start(send)
    await asyncio.sleep(0.3)
    await body(send, b"fine")


@start_alone_sends_nothing.client
async def watch_the_start(talk: Talk) -> None:
    await talk.ask()
    try:
        early = await talk.read(0.15)
    except TimeoutError:
        early = b""
    expect_equal(early, b"", "what was sent ahead of the body")
    expect_equal((await talk.answer()).status, 200, "status")


@check(START)
async def headers_are_sent_in_order(scope: Scope, receive: Receive, send: Send) -> None:
    """Headers are sent as given, in their order, repeated ones one by one."""
    await start(send, 200, (b"x-a", b"1"), (b"set-cookie", b"a=b"), (b"x-a", b"2"), (b"set-cookie", b"c=d"))
    await body(send, b"fine")


@headers_are_sent_in_order.client
async def look_at_the_headers(talk: Talk) -> None:
    await talk.ask()
    answered = await talk.answer()
    expect_equal((answered.values("x-a"), answered.values("set-cookie")), (["1", "2"], ["a=b", "c=d"]), "headers")


@check(START)
async def headers_may_be_any_iterable(scope: Scope, receive: Receive, send: Send) -> None:
    """Headers are an iterable of pairs, which may be lists."""

    def pairs() -> Iterator[list[bytes]]:
        yield [b"x-a", b"b"]

    await send({"type": "http.response.start", "status": 200, "headers": pairs()})
    await body(send, b"fine")


@headers_may_be_any_iterable.client
async def look_for_the_header(talk: Talk) -> None:
    await talk.ask()
    expect_equal((await talk.answer()).values("x-a"), ["b"], "x-a")


@check(START)
async def headers_may_be_left_out(scope: Scope, receive: Receive, send: Send) -> None:
    """Without headers there are none of the application's."""
    await send({"type": "http.response.start", "status": 200})
    await body(send, b"fine")


@check(START)
async def bytes_beyond_ascii_are_sent_as_they_are(scope: Scope, receive: Receive, send: Send) -> None:
    """Values are bytes."""
    await start(send, 200, (b"x-a", b"\xc3\xa9"))
    await body(send)


@bytes_beyond_ascii_are_sent_as_they_are.client
async def look_for_the_bytes(talk: Talk) -> None:
    await talk.ask()
    expect_equal((await talk.answer()).values("x-a"), ["\xc3\xa9"], "x-a")


@check(START)
async def status_is_sent(scope: Scope, receive: Receive, send: Send) -> None:
    """Any status can be sent."""
    await answer(send, b"fine", 418)


@status_is_sent.client
async def look_at_the_status(talk: Talk) -> None:
    await talk.ask()
    expect_equal((await talk.answer()).status, 418, "status")


@check(BODY)
async def body_may_be_left_out(scope: Scope, receive: Receive, send: Send) -> None:
    """Body and more_body have defaults: empty and the last."""
    await start(send)
    await send({"type": "http.response.body"})


@check(BODY)
async def length_is_the_applications(scope: Scope, receive: Receive, send: Send) -> None:
    """A Content-Length of the application's is sent, and the body not in chunks."""
    await start(send, 200, (b"content-length", b"6"))
    await body(send, b"one", more=True)
    await body(send, b"two")


@length_is_the_applications.client
async def look_at_the_length(talk: Talk) -> None:
    await talk.ask()
    answered = await talk.answer()
    expect_equal((answered.values("content-length"), answered.values("transfer-encoding")), (["6"], []), "framing")
    expect_equal(answered.body, b"onetwo", "body")


@check(BODY)
async def length_is_not_needed(scope: Scope, receive: Receive, send: Send) -> None:
    """Without a Content-Length the server frames the body, an empty part amid it is no end."""
    await start(send)
    for part in (b"one", b"", b"two"):
        await body(send, part, more=True)
    await body(send)


async def twice_onetwo(talk: Talk) -> None:
    for _ in range(2):
        await talk.ask()
        expect_equal((await talk.answer()).body, b"onetwo", "body")


length_is_not_needed.client(twice_onetwo)


@check(BODY)
async def length_is_not_needed_by_http_1_0(scope: Scope, receive: Receive, send: Send) -> None:
    """To HTTP/1.0 a body without a length ends with the connection."""
    await start(send)
    await body(send, b"one", more=True)
    await body(send, b"two")


@length_is_not_needed_by_http_1_0.client
async def look_at_1_0(talk: Talk) -> None:
    await talk.ask(version=b"1.0")
    answered = await talk.answer()
    expect_equal((answered.body, answered.values("transfer-encoding")), (b"onetwo", []), "body and coding")


@check(BODY)
async def parts_are_sent_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    """A part is on the wire before the next is made: the client answers each."""
    await start(send)
    await body(send, b"one,", more=True)
    await read_body(receive)
    await body(send, b"two")


@parts_are_sent_at_once.client
async def answer_the_part(talk: Talk) -> None:
    await talk.ask(method=b"POST", length=3)
    await talk.read_until(b"one,")
    await talk.send(b"abc")
    expect_equal((await talk.answer()).body, b"one,two", "body")


@check(BODY)
async def head_has_no_body(scope: Scope, receive: Receive, send: Send) -> None:
    """The body of an answer to HEAD is not sent."""
    await answer(send, b"not to be seen")


@head_has_no_body.client
async def ask_for_the_head(talk: Talk) -> None:
    await talk.ask(method=b"HEAD")
    answered = await talk.answer(head=True)
    expect_equal((answered.status, answered.values("content-length")), (200, ["14"]), "status and length")
    if not talk.ended:
        await talk.ask(method=b"HEAD")
        expect_equal((await talk.answer(head=True)).status, 200, "status of the next")


@check(BODY)
async def large_body_is_sent_whole(scope: Scope, receive: Receive, send: Send) -> None:
    """A large body comes whole."""
    await start(send)
    for number in range(64):
        await body(send, bytes([number]) * 65536, more=True)
    await body(send)


@large_body_is_sent_whole.client
async def read_it_all(talk: Talk) -> None:
    await talk.ask(b"", b"Connection: close")
    wanted = b"".join(bytes([number]) * 65536 for number in range(64))
    expect((await talk.answer()).body == wanted, "the body is not what was sent")


@check(BODY, Level.RELIED)
async def slow_client_holds_send_back(scope: Scope, receive: Receive, send: Send) -> None:
    """send() waits for a client that does not read, so that memory is bounded."""
    await start(send)
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while sent < 1000:
            await body(send, b"x" * 65536, more=True)
            sent += 1

    flooding = asyncio.ensure_future(flood())
    await asyncio.wait([flooding], timeout=1.0)
    stalled = sent
    expect(stalled < 1000, "64 MB were taken though the client reads nothing")
    await flooding
    await body(send)


@slow_client_holds_send_back.client
async def read_late(talk: Talk) -> None:
    await talk.ask(b"", b"Connection: close")
    await asyncio.sleep(1.2)
    count = 0
    while True:
        data = await talk.read()
        talk.data = b""
        count += len(data)
        if not data:
            break
    expect(count > 65_536_000, f"only {count} bytes came")


@check("Connection Scope", Level.RELIED)
async def call_goes_on_behind_the_answer(scope: Scope, receive: Receive, send: Send) -> None:
    """The call goes on when the answer is complete and the client has left."""
    await answer(send)
    await asyncio.sleep(0.3)


@call_goes_on_behind_the_answer.client
async def get_and_close(talk: Talk) -> None:
    await get_fine(talk)


async def send_until_it_raises(receive: Receive, send: Send) -> OSError | None:
    """Go on sending when the client has left; return the OSError that this raises, if any."""
    await start(send)
    await body(send, b"one,", more=True)
    while (await asyncio.wait_for(receive(), 10))["type"] != "http.disconnect":
        pass
    for _ in range(20):
        try:
            await body(send, b"x" * 65536, more=True)
        except OSError as error:
            return error
        await asyncio.sleep(0.02)
    return None


def announces_2_4(scope: Scope) -> bool:
    return tuple(map(int, scope["asgi"].get("spec_version", "2.0").split("."))) >= (2, 4)


@check("Disconnected Client - send exception")
async def send_to_a_client_that_left_is_silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Before HTTP 2.4 sending to a client that has left does nothing."""
    raised = await send_until_it_raises(receive, send)
    expect(raised is None or announces_2_4(scope), f"send() raises {raised!r} before HTTP 2.4")


@check("Disconnected Client - send exception", Level.SHOULD)
async def send_to_a_client_that_left_raises(scope: Scope, receive: Receive, send: Send) -> None:
    """From HTTP 2.4 on sending to a client that has left raises OSError."""
    raised = await send_until_it_raises(receive, send)
    expect(raised is not None or not announces_2_4(scope), "send() does not raise OSError from HTTP 2.4 on")


@send_to_a_client_that_left_is_silent.client
@send_to_a_client_that_left_raises.client
async def leave_after_one(talk: Talk) -> None:
    await talk.ask()
    await talk.read_until(b"one,")
    await talk.reset()


@check("Applications", Level.RELIED)
async def requests_run_at_the_same_time(scope: Scope, receive: Receive, send: Send) -> None:
    """Requests on several connections are served at the same time."""
    key = scope["path"]
    if scope["query_string"] == b"second":
        _MEETING[key].set()
        await answer(send)
        return
    _MEETING[key] = asyncio.Event()
    await start(send)
    await body(send, b"one,", more=True)
    await asyncio.wait_for(_MEETING[key].wait(), 10)
    await body(send, b"two")


_MEETING: dict[str, asyncio.Event] = {}


@requests_run_at_the_same_time.client
async def meet(talk: Talk) -> None:
    await talk.ask()
    await talk.read_until(b"one,")
    other = await talk.another()
    try:
        await other.ask(b"?second")
        expect_equal((await other.answer()).status, 200, "status of the second")
    finally:
        await other.close()
    expect_equal((await talk.answer()).body, b"one,two", "body")


@check("Applications", Level.RELIED)
async def context_is_of_one_request(scope: Scope, receive: Receive, send: Send) -> None:
    """Context variables that one request sets are not seen by the next on its connection."""
    expect_equal(VARIABLE.get(), "unset", "the variable")
    VARIABLE.set("set")
    await answer(send)


@context_is_of_one_request.client
async def get_three_times(talk: Talk) -> None:
    for _ in range(3):
        await get_fine(talk)


@check("Applications", Level.RELIED)
async def pipelined_requests_are_served_in_order(scope: Scope, receive: Receive, send: Send) -> None:
    """A request behind another on its connection is answered behind it."""
    if scope["query_string"] == b"1":
        await asyncio.sleep(0.1)
    await answer(send, scope["query_string"])


@pipelined_requests_are_served_in_order.client
async def pipeline(talk: Talk) -> None:
    line = b"GET %b?%d HTTP/1.1\r\nHost: a\r\n%b\r\n"
    await talk.send(line % (talk.target, 1, b"") + line % (talk.target, 2, b"Connection: close\r\n"))
    while not talk.ended:
        await talk.read()
    first, _, second = talk.data.partition(b"\r\n\r\n")[2].partition(b"HTTP/1.1")
    expect(first == b"1" and second.endswith(b"2"), f"answers: {talk.data!r}")
