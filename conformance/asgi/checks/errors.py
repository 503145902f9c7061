"""What is no event, or none at this point, and calls that fail (ASGI, "Error Handling")."""

from typing import Any

from conformance.asgi.checks.registry import check
from conformance.asgi.events import IntendedError, Message, Receive, Scope, Send, answer, body, start
from conformance.exchange import Failure, Level, Talk, expect_equal, get_fine

ERRORS = "Error Handling"
OK: Message = {"type": "http.response.start", "status": 200, "headers": []}


async def expect_raises(send: Send, message: Any) -> None:
    """Expect `send` to raise for a message that is none."""
    try:
        await send(message)
    except Exception:
        return
    raise Failure(f"send() takes {message!r}")


@check(ERRORS, Level.SHOULD)
async def unknown_type_raises(scope: Scope, receive: Receive, send: Send) -> None:
    """A message of an unknown type raises."""
    await expect_raises(send, {"type": "http.response.nonsense"})
    await answer(send)


@check(ERRORS, Level.SHOULD)
async def missing_type_raises(scope: Scope, receive: Receive, send: Send) -> None:
    """A message without a type raises."""
    await expect_raises(send, {"status": 200})
    await answer(send)


@check(ERRORS, Level.SHOULD)
async def missing_status_raises(scope: Scope, receive: Receive, send: Send) -> None:
    """A start without a status raises."""
    await expect_raises(send, {"type": "http.response.start"})
    await answer(send)


@check(ERRORS, Level.SHOULD)
async def body_ahead_of_start_raises(scope: Scope, receive: Receive, send: Send) -> None:
    """A body ahead of the start raises."""
    await expect_raises(send, {"type": "http.response.body", "body": b"x"})
    await answer(send)


@check(ERRORS, Level.SHOULD)
async def second_start_raises(scope: Scope, receive: Receive, send: Send) -> None:
    """A second start raises."""
    await start(send)
    await expect_raises(send, OK)
    await body(send, b"fine")


@check(ERRORS, Level.SHOULD)
async def websocket_message_raises(scope: Scope, receive: Receive, send: Send) -> None:
    """A WebSocket's message on HTTP raises."""
    await expect_raises(send, {"type": "websocket.accept"})
    await answer(send)


@check(ERRORS, Level.SHOULD)
async def text_for_bytes_raises(scope: Scope, receive: Receive, send: Send) -> None:
    """Text where bytes are due raises: a name, a value."""
    await expect_raises(send, {**OK, "headers": [("x-a", b"b")]})
    await expect_raises(send, {**OK, "headers": [(b"x-a", "b")]})
    await answer(send)


@check(ERRORS, Level.SHOULD)
async def status_that_is_no_number_raises(scope: Scope, receive: Receive, send: Send) -> None:
    """A status that is no number raises."""
    await expect_raises(send, {**OK, "status": "200"})
    await answer(send)


@check(ERRORS, Level.SHOULD)
async def injected_header_raises(scope: Scope, receive: Receive, send: Send) -> None:
    """A header with a line break in it raises, and another answer can be given."""
    await expect_raises(send, {**OK, "headers": [(b"x-a", b"b\r\nx-injected: yes")]})
    await answer(send)


@injected_header_raises.client
async def look_for_injection(talk: Talk) -> None:
    await talk.ask()
    answered = await talk.answer()
    expect_equal((answered.status, answered.values("x-injected")), (200, []), "status and what was injected")


@check(ERRORS, Level.SHOULD)
async def text_for_a_body_raises(scope: Scope, receive: Receive, send: Send) -> None:
    """A body of text raises."""
    await start(send)
    await expect_raises(send, {"type": "http.response.body", "body": "text"})
    await body(send, b"fine")


@check(ERRORS)
async def exception_ahead_of_the_answer_is_a_500(scope: Scope, receive: Receive, send: Send) -> None:
    """An exception ahead of the answer is a 500."""
    raise IntendedError("raised by the suite, on purpose")


async def want_500(talk: Talk) -> None:
    await talk.ask()
    expect_equal((await talk.answer()).status, 500, "status")


exception_ahead_of_the_answer_is_a_500.client(want_500)


@check(ERRORS, Level.RELIED)
async def exception_behind_the_start_is_a_500(scope: Scope, receive: Receive, send: Send) -> None:
    """So it is behind the start, of which nothing has been sent."""
    await start(send, 200, (b"x-a", b"b"))
    raise IntendedError("raised by the suite, on purpose")


exception_behind_the_start_is_a_500.client(want_500)


@check(ERRORS)
async def exception_amid_the_body_cuts_it(scope: Scope, receive: Receive, send: Send) -> None:
    """An exception amid the body ends the connection, and the client can see that the body is not whole."""
    await start(send)
    await body(send, b"one,", more=True)
    raise IntendedError("raised by the suite, on purpose")


@exception_amid_the_body_cuts_it.client
async def want_a_cut(talk: Talk) -> None:
    await talk.ask()
    try:
        await talk.answer()
    except Failure:
        expect_equal(talk.ended, True, "the connection's end")
        return
    raise Failure("the answer looks whole")


@check(ERRORS)
async def return_without_an_answer_is_a_500(scope: Scope, receive: Receive, send: Send) -> None:
    """A call that returns without an answer is a 500."""


return_without_an_answer_is_a_500.client(want_500)


@check(ERRORS)
async def return_amid_the_body_cuts_it(scope: Scope, receive: Receive, send: Send) -> None:
    """A call that returns amid the body ends the connection."""
    await start(send)
    await body(send, b"one,", more=True)


return_amid_the_body_cuts_it.client(want_a_cut)


@check(ERRORS)
async def server_serves_on_behind_an_exception(scope: Scope, receive: Receive, send: Send) -> None:
    """The next request is served."""
    if scope["query_string"] == b"raise":
        raise IntendedError("raised by the suite, on purpose")
    await answer(send)


@server_serves_on_behind_an_exception.client
async def raise_then_get(talk: Talk) -> None:
    await talk.ask(b"?raise")
    expect_equal((await talk.answer()).status, 500, "status")
    other = await talk.another()
    try:
        await get_fine(other)
    finally:
        await other.close()
