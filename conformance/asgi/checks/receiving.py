"""What `receive()` returns, and when: the body, and the client's leaving (ASGI HTTP, "Request", "Disconnect")."""

import asyncio

from conformance.asgi.checks.registry import check
from conformance.asgi.events import Receive, Scope, Send, answer, body, expect_request, read_body, start
from conformance.exchange import Level, Talk, expect, expect_equal

REQUEST = "Request - receive event"
DISCONNECT = "Disconnect - receive event"
LARGE = b"0123456789abcdef" * 65536


@check(REQUEST)
async def no_body_is_one_empty_event(scope: Scope, receive: Receive, send: Send) -> None:
    """Without a body there is one event, empty and last."""
    message = await receive()
    expect_request(message)
    expect_equal(message.get("body", b""), b"", "body")
    expect_equal(message.get("more_body", False), False, "more_body")
    await answer(send)


@check(REQUEST)
async def events_have_no_unknown_keys(scope: Scope, receive: Receive, send: Send) -> None:
    """An event has the keys of the specification."""
    message = await receive()
    expect(message.keys() <= {"type", "body", "more_body"}, f"keys {sorted(message)}")
    expect(isinstance(message, dict), "an event is not a dict")
    await answer(send)


@check(REQUEST)
async def body_of_a_few_bytes(scope: Scope, receive: Receive, send: Send) -> None:
    """A body comes as it was sent."""
    expect_equal(b"".join(await read_body(receive)), b"a\0b\xff", "body")
    await answer(send)


@body_of_a_few_bytes.client
async def post_a_few_bytes(talk: Talk) -> None:
    await talk.ask(method=b"POST", body=b"a\0b\xff")
    expect_equal((await talk.answer()).status, 200, "status")


@check(REQUEST)
async def large_body_comes_in_parts(scope: Scope, receive: Receive, send: Send) -> None:
    """A large body comes whole, in parts of which all but the last say that more follows."""
    expect(b"".join(await read_body(receive)) == LARGE, "the body is not what was sent")
    await answer(send)


@large_body_comes_in_parts.client
async def post_a_large_body(talk: Talk) -> None:
    await talk.ask(method=b"POST", body=LARGE)
    expect_equal((await talk.answer()).status, 200, "status")


@check(REQUEST)
async def chunked_body_is_decoded(scope: Scope, receive: Receive, send: Send) -> None:
    """A chunked body comes without its chunks and trailers."""
    expect_equal(b"".join(await read_body(receive)), b"abcde", "body")
    expect(b"x-trailer" not in dict(scope["headers"]), "a trailer is among the headers")
    await answer(send)


@chunked_body_is_decoded.client
async def post_chunks(talk: Talk) -> None:
    await talk.ask(b"", b"Transfer-Encoding: chunked", method=b"POST")
    await talk.send(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Trailer: b\r\n\r\n")
    expect_equal((await talk.answer()).status, 200, "status")


@check(REQUEST)
async def body_comes_while_it_is_sent(scope: Scope, receive: Receive, send: Send) -> None:
    """The first part is received before the last is sent, and the answer can begin before."""
    message = await receive()
    expect_request(message)
    expect_equal(message.get("more_body"), True, "more_body")
    await start(send)
    await body(send, b"one,", more=True)
    rest = b"".join(await read_body(receive))
    expect_equal(bytes(message["body"]) + rest, b"first,second", "body")
    await body(send, b"two")


@body_comes_while_it_is_sent.client
async def post_in_two_parts(talk: Talk) -> None:
    await talk.ask(method=b"POST", body=b"first,", length=12)
    await talk.read_until(b"one,")
    await talk.send(b"second")
    expect_equal((await talk.answer()).body, b"one,two", "body")


@check(REQUEST)
async def continue_is_sent_on_receive(scope: Scope, receive: Receive, send: Send) -> None:
    """100 Continue is sent when the application wants the body."""
    expect_equal(b"".join(await read_body(receive)), b"abc", "body")
    await answer(send)


@continue_is_sent_on_receive.client
async def post_with_expect(talk: Talk) -> None:
    await talk.ask(b"", b"Expect: 100-continue", method=b"POST", length=3)
    await talk.read_until(b"HTTP/1.1 100 ")
    await talk.send(b"abc")
    expect_equal((await talk.answer()).status, 200, "status")


@check(REQUEST, Level.SHOULD)
async def continue_is_not_sent_without_receive(scope: Scope, receive: Receive, send: Send) -> None:
    """100 Continue is not sent where the application answers without reading."""
    await answer(send, b"no thanks", 403)


@continue_is_not_sent_without_receive.client
async def post_with_expect_in_vain(talk: Talk) -> None:
    await talk.ask(b"", b"Expect: 100-continue", method=b"POST", length=3)
    answered = await talk.answer()
    expect_equal((answered.status, answered.interim), (403, []), "status and interim answers")


@check(REQUEST)
async def cancelled_receive_loses_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """A receive() that is cancelled while it waits takes nothing with it."""
    first = b""
    while first != b"first,":
        first += (await receive())["body"]
    waiting = asyncio.ensure_future(receive())
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.wait([waiting])
    await start(send)
    await body(send, b"cancelled,", more=True)
    expect_equal(b"".join(await read_body(receive)), b"second", "the rest of the body")
    await body(send, b"fine")


@cancelled_receive_loses_nothing.client
async def post_around_a_cancellation(talk: Talk) -> None:
    await talk.ask(method=b"POST", body=b"first,", length=12)
    await talk.read_until(b"cancelled,")
    await talk.send(b"second")
    expect_equal((await talk.answer()).body, b"cancelled,fine", "body")


@check(DISCONNECT)
async def receive_waits_behind_the_body(scope: Scope, receive: Receive, send: Send) -> None:
    """Behind the body receive() waits while the client is there, and says disconnect once the answer is complete."""
    await read_body(receive)
    waiting = asyncio.ensure_future(receive())
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    expect(not done, "receive() returns although the client is there")
    await answer(send)
    message = await asyncio.wait_for(waiting, 10)
    expect_equal(message["type"], "http.disconnect", "type")


@check(DISCONNECT)
async def client_that_leaves_is_noticed(scope: Scope, receive: Receive, send: Send) -> None:
    """When the client leaves receive() says so."""
    await read_body(receive)
    await start(send)
    await body(send, b"one,", more=True)
    expect_equal((await asyncio.wait_for(receive(), 10))["type"], "http.disconnect", "type")


@check(DISCONNECT, Level.RELIED)
async def client_that_leaves_is_noticed_again(scope: Scope, receive: Receive, send: Send) -> None:
    """It says so again and again."""
    await read_body(receive)
    await start(send)
    await body(send, b"one,", more=True)
    for _ in range(3):
        expect_equal((await asyncio.wait_for(receive(), 10))["type"], "http.disconnect", "type")


@client_that_leaves_is_noticed.client
@client_that_leaves_is_noticed_again.client
async def get_and_leave(talk: Talk) -> None:
    await talk.ask()
    await talk.read_until(b"one,")
    await talk.reset()


@check(DISCONNECT)
async def client_that_leaves_amid_its_body_is_noticed(scope: Scope, receive: Receive, send: Send) -> None:
    """A body that is cut short never ends as a whole one does."""
    while True:
        message = await asyncio.wait_for(receive(), 10)
        if message["type"] == "http.disconnect":
            return
        expect_request(message)
        expect_equal(message.get("more_body"), True, "more_body")


@client_that_leaves_amid_its_body_is_noticed.client
async def post_and_leave(talk: Talk) -> None:
    await talk.ask(method=b"POST", body=b"abc", length=10)
    await asyncio.sleep(0.1)
    await talk.reset()


@check(DISCONNECT, Level.RELIED)
async def receive_after_the_answer_says_disconnect(scope: Scope, receive: Receive, send: Send) -> None:
    """Once the answer is complete receive() says disconnect, on a connection that goes on as well."""
    await read_body(receive)
    await answer(send)
    expect_equal((await asyncio.wait_for(receive(), 10))["type"], "http.disconnect", "type")


@check(REQUEST)
async def unread_body_is_not_the_next_request(scope: Scope, receive: Receive, send: Send) -> None:
    """A body that is not read does not disturb what follows."""
    await answer(send)


@unread_body_is_not_the_next_request.client
async def post_twice_unread(talk: Talk) -> None:
    await talk.ask(method=b"POST", body=b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    expect_equal((await talk.answer()).status, 200, "status")
    if not talk.ended:
        await talk.ask()
        expect_equal((await talk.answer()).status, 200, "status of the next")
