"""All checks of PEP 3333: the environ, the streams, start_response, write, the iterable, and its end."""

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from conformance.exchange import Checks, Failure, Level, Talk, expect, expect_equal, get_fine
from conformance.wsgi.tools import Environ, IntendedError, StartResponse, answer

CHECKS = Checks()
check = CHECKS
#: Checks that break a rule on purpose, or do what `wsgiref.validate` forbids although the PEP does not.
UNVALIDATED: set[str] = set()

ENVIRON = "environ Variables"
STREAMS = "Input and Error Streams"
START = "The start_response() Callable"
BODY = "Handling the Content-Length Header"
BUFFERING = "Buffering and Streaming"
ERRORS = "Error Handling"
PLAIN = [("Content-Type", "text/plain")]


def asks(suffix: bytes = b"", *fields: bytes, **keywords: Any) -> Any:
    """Return a client's side that sends this request and wants 200."""

    async def ask(talk: Talk) -> None:
        await talk.ask(suffix, *fields, **keywords)
        answered = await talk.answer(head=keywords.get("method") == b"HEAD")
        expect_equal(answered.status, 200, "status")

    return ask


# environ


@check(ENVIRON)
def environ_is_a_dict(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The environ is a builtin dict, no subclass, of text by text."""
    expect(type(environ) is dict, f"environ is {type(environ).__name__}")
    wrong = [name for name, value in environ.items() if "." not in name and type(value) is not str]
    expect(not wrong, f"not text: {wrong}")
    return answer(start_response)


@check(ENVIRON)
def environ_is_of_one_request(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The environ can be changed without another request seeing it."""
    expect("mine" not in environ, "the environ of another request")
    environ["mine"] = "1"
    return answer(start_response)


@environ_is_of_one_request.client
async def get_twice(talk: Talk) -> None:
    for _ in range(2):
        await get_fine(talk)


@check(ENVIRON, ask=asks(method=b"DELETE"))
def method_is_as_sent(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """REQUEST_METHOD is the method."""
    expect_equal(environ["REQUEST_METHOD"], "DELETE")
    return answer(start_response)


@check(ENVIRON)
def script_name_is_empty(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """SCRIPT_NAME is empty at the root; it and PATH_INFO make the path."""
    expect_equal(environ.get("SCRIPT_NAME", ""), "")
    expect(environ["PATH_INFO"].startswith("/check/"), f"PATH_INFO is {environ['PATH_INFO']!r}")
    return answer(start_response)


@check("Unicode Issues", ask=asks(b"/a%20b%C3%A9%2Fc?d=e"))
def path_is_decoded_as_latin_1(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """PATH_INFO is percent-decoded bytes as Latin-1 text."""
    expect(environ["PATH_INFO"].endswith("/a b\xc3\xa9/c"), f"PATH_INFO is {environ['PATH_INFO']!r}")
    return answer(start_response)


@check("Unicode Issues", ask=asks(b"/a%FF%80b"))
def path_that_is_no_utf_8_is_kept(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Bytes that are no UTF-8 are kept."""
    expect(environ["PATH_INFO"].endswith("/a\xff\x80b"), f"PATH_INFO is {environ['PATH_INFO']!r}")
    return answer(start_response)


@check(ENVIRON, ask=asks(b"?a=%20b&c=d?e"))
def query_is_encoded(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """QUERY_STRING is what follows the question mark, encoded."""
    expect_equal(environ["QUERY_STRING"], "a=%20b&c=d?e")
    return answer(start_response)


@check(ENVIRON)
def query_is_empty_without_one(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Without a query it is empty or absent."""
    expect_equal(environ.get("QUERY_STRING", ""), "")
    return answer(start_response)


@check(ENVIRON)
def server_name_and_port_are_there(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """SERVER_NAME and SERVER_PORT are text, never empty."""
    expect(bool(environ["SERVER_NAME"]), "SERVER_NAME is empty")
    expect(environ["SERVER_PORT"].isdecimal(), f"SERVER_PORT is {environ['SERVER_PORT']!r}")
    return answer(start_response)


@check(ENVIRON)
def protocol_is_1_1(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """SERVER_PROTOCOL is the client's."""
    expect_equal(environ["SERVER_PROTOCOL"], "HTTP/1.1")
    return answer(start_response)


@check(ENVIRON, ask=asks(version=b"1.0"))
def protocol_is_1_0(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """So it is of HTTP/1.0."""
    expect_equal(environ["SERVER_PROTOCOL"], "HTTP/1.0")
    return answer(start_response)


@check(ENVIRON, Level.RELIED)
def remote_address_is_the_clients(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """REMOTE_ADDR is the client's address."""
    return answer(start_response, environ["REMOTE_ADDR"].encode())


@remote_address_is_the_clients.client
async def ask_for_my_address(talk: Talk) -> None:
    await talk.ask()
    expect_equal((await talk.answer()).body.decode(), talk.address[0], "REMOTE_ADDR")


@check(ENVIRON, ask=asks(b"", b"X-Abc-Def: Ghi", b"Accept: b"))
def headers_are_variables(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A header is HTTP_ and its name, upper-case, with underscores."""
    expect_equal(environ["HTTP_X_ABC_DEF"], "Ghi")
    expect_equal(environ["HTTP_ACCEPT"], "b")
    expect_equal(environ["HTTP_HOST"], "a")
    return answer(start_response)


@check(ENVIRON, ask=asks(b"", b"Content-Type: text/x", method=b"POST", body=b"abc"))
def content_headers_have_names_of_their_own(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Content-Type and Content-Length have no HTTP_."""
    expect_equal(environ["CONTENT_TYPE"], "text/x")
    expect_equal(environ["CONTENT_LENGTH"], "3")
    twice = {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & environ.keys()
    expect(not twice, f"{twice}")
    return answer(start_response)


@check(ENVIRON)
def content_headers_are_absent_without_a_body(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Without them they are empty or absent, or the length is 0."""
    expect(not environ.get("CONTENT_TYPE"), f"CONTENT_TYPE is {environ.get('CONTENT_TYPE')!r}")
    expect(environ.get("CONTENT_LENGTH") in (None, "", "0"), f"CONTENT_LENGTH is {environ.get('CONTENT_LENGTH')!r}")
    return answer(start_response)


@check("RFC 3875 4.1.18", ask=asks(b"", b"X-A: b", b"X-A: c"))
def repeated_headers_are_joined(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Repeated headers are joined with a comma."""
    expect(environ["HTTP_X_A"].replace(" ", "") == "b,c", f"HTTP_X_A is {environ['HTTP_X_A']!r}")
    return answer(start_response)


@check("RFC 6265 5.4", Level.SHOULD, ask=asks(b"", b"Cookie: a=b", b"Cookie: c=d"))
def repeated_cookies_are_joined(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Repeated cookies are joined with a semicolon."""
    expect_equal(environ["HTTP_COOKIE"], "a=b; c=d")
    return answer(start_response)


@check(ENVIRON, ask=asks(b"", b"X-User: real", b"X_User: forged"))
def underscores_are_no_dashes(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A name with an underscore never passes for one with a dash."""
    expect_equal(environ["HTTP_X_USER"], "real")
    return answer(start_response)


@check(ENVIRON, ask=asks(b"", b"Proxy: http://evil"))
def proxy_is_a_variable_like_any(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A header named Proxy changes no variable of the process (httpoxy)."""
    expect(os.environ.get("HTTP_PROXY") != "http://evil", "HTTP_PROXY of the process is the client's")
    return answer(start_response)


@check("Unicode Issues", ask=asks(b"", b"X-A: \xe9\xff"))
def header_values_are_latin_1(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Values are bytes as Latin-1 text."""
    expect_equal(environ["HTTP_X_A"], "\xe9\xff")
    return answer(start_response)


@check(ENVIRON)
def wsgi_version(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """wsgi.version is (1, 0)."""
    expect_equal(environ["wsgi.version"], (1, 0))
    return answer(start_response)


@check(ENVIRON)
def wsgi_url_scheme(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """wsgi.url_scheme is "http" on a plain connection."""
    expect_equal(environ["wsgi.url_scheme"], "http")
    return answer(start_response)


@check(ENVIRON)
def wsgi_flags_are_there(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """multithread, multiprocess and run_once are there; the last is false in a server."""
    for name in ("wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once"):
        expect(name in environ, f"{name} is not there")
    expect(not environ["wsgi.run_once"], "run_once is true")
    return answer(start_response)


@check("URL Reconstruction")
def url_can_be_reconstructed(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Scheme, host and path make the request's URL."""
    url = f"{environ['wsgi.url_scheme']}://{environ['HTTP_HOST']}{environ.get('SCRIPT_NAME', '')}{environ['PATH_INFO']}"
    expect(url.startswith("http://a/check/url_can_be_reconstructed/"), f"the URL is {url!r}")
    return answer(start_response)


# streams


@check(STREAMS, ask=asks(method=b"POST", body=b"a\0b\xff"))
def input_is_the_body(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """read(CONTENT_LENGTH) is the body, as bytes."""
    expect_equal(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])), b"a\0b\xff", "body")
    return answer(start_response)


@check(STREAMS, ask=asks(method=b"POST", body=b"abc"))
def input_ends(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Behind the body there is the end of a file, as often as one reads."""
    expect_equal(environ["wsgi.input"].read(100), b"abc", "body")
    for _ in range(2):
        expect_equal(environ["wsgi.input"].read(1), b"", "what is behind it")
    return answer(start_response)


@check(STREAMS)
def input_is_empty_without_a_body(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Without a body there is the end of a file."""
    expect_equal(environ["wsgi.input"].read(1), b"", "body")
    return answer(start_response)


@check(STREAMS, ask=asks(method=b"POST", body=b"one\ntwo\n\nthree"))
def input_has_lines(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """readline(), readlines() and iteration yield lines."""
    body = environ["wsgi.input"]
    expect_equal(body.readline(), b"one\n", "the first line")
    expect_equal(next(iter(body)), b"two\n", "the second line")
    expect_equal(body.readlines(), [b"\n", b"three"], "the other lines")
    return answer(start_response)


@check(STREAMS, ask=asks(method=b"POST", body=b"one\ntwo"))
def input_reads_a_part_of_a_line(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """readline(size) reads at most that."""
    body = environ["wsgi.input"]
    expect_equal((body.readline(2), body.readline(5), body.readline(2)), (b"on", b"e\n", b"tw"), "parts")
    return answer(start_response)


@check(STREAMS, ask=asks(method=b"POST", body=b"abc"))
def input_reads_without_a_size(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """read() without a size reads to the end."""
    expect_equal(environ["wsgi.input"].read(), b"abc", "body")
    return answer(start_response)


UNVALIDATED.add("input_reads_without_a_size")

LARGE = b"0123456789abcdef" * 65536


@check(STREAMS, ask=asks(method=b"POST", body=LARGE))
def large_body_is_whole(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A body of a megabyte is whole."""
    read = b""
    while part := environ["wsgi.input"].read(100_000):
        expect(len(part) <= 100_000, "more than was asked for")
        read += part
    expect(read == LARGE, "the body is not what was sent")
    return answer(start_response)


@check(STREAMS, Level.RELIED)
def chunked_body_is_decoded(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A chunked body is read to its end."""
    expect_equal(environ["wsgi.input"].read(100), b"abcde", "body")
    return answer(start_response)


@chunked_body_is_decoded.client
async def post_chunks(talk: Talk) -> None:
    await talk.ask(b"", b"Transfer-Encoding: chunked", method=b"POST")
    await talk.send(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Trailer: b\r\n\r\n")
    expect_equal((await talk.answer()).status, 200, "status")


@check(STREAMS)
def unread_body_is_not_the_next_request(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A body that is not read does not disturb what follows."""
    return answer(start_response)


@unread_body_is_not_the_next_request.client
async def post_unread(talk: Talk) -> None:
    await talk.ask(method=b"POST", body=b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    expect_equal((await talk.answer()).status, 200, "status")
    if not talk.ended:
        await get_fine(talk)


@check(STREAMS)
def continue_is_sent_on_read(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A client that waits for 100 Continue gets it, or the application its body."""
    expect_equal(environ["wsgi.input"].read(3), b"abc", "body")
    return answer(start_response)


@continue_is_sent_on_read.client
async def post_with_expect(talk: Talk) -> None:
    await talk.ask(b"", b"Expect: 100-continue", method=b"POST", length=3)
    await talk.read_until(b"HTTP/1.1 100 ")
    await talk.send(b"abc")
    expect_equal((await talk.answer()).status, 200, "status")


@check(STREAMS)
def errors_takes_text(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """wsgi.errors has write, writelines and flush, for text of any letters."""
    errors = environ["wsgi.errors"]
    errors.write("wsgi.errors of the suite \xe9\n")
    errors.writelines(["of the suite\n"])
    errors.flush()
    return answer(start_response)


# start_response and the answer


@check(START)
def write_is_returned(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """start_response returns write(), whose bytes come ahead of the iterable's."""
    write = start_response("200 OK", PLAIN)
    write(b"one,")
    write(b"two,")
    return [b"three"]


@write_is_returned.client
async def look_at_what_was_written(talk: Talk) -> None:
    await talk.ask()
    expect_equal((await talk.answer()).body, b"one,two,three", "body")


@check(START)
def status_and_reason_are_sent(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Status and reason are sent as given."""
    return answer(start_response, b"fine", "418 Short and stout")


@status_and_reason_are_sent.client
async def look_at_the_status(talk: Talk) -> None:
    await talk.ask()
    await talk.read_until(b"\r\n")
    expect(b"HTTP/1.1 418 Short and stout\r\n" in talk.data, f"status line {talk.data[:60]!r}")


@check(START)
def headers_are_sent_in_order(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Headers are sent as given, repeated ones one by one."""
    start_response("200 OK", [*PLAIN, ("X-A", "1"), ("Set-Cookie", "a=b"), ("X-A", "2"), ("Set-Cookie", "c=\xe9")])
    return [b"fine"]


@headers_are_sent_in_order.client
async def look_at_the_headers(talk: Talk) -> None:
    await talk.ask()
    answered = await talk.answer()
    expect_equal((answered.values("x-a"), answered.values("set-cookie")), (["1", "2"], ["a=b", "c=\xe9"]), "headers")


@check(START)
def headers_can_be_changed_until_sent(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A second start_response with exc_info replaces the first as long as nothing is sent."""
    start_response("200 OK", [*PLAIN, ("X-First", "1")])
    try:
        raise IntendedError("raised by the suite, on purpose")
    except IntendedError:
        start_response("202 Other", [*PLAIN, ("X-Second", "2")], sys.exc_info())
    return [b"fine"]


@headers_can_be_changed_until_sent.client
async def look_for_the_second(talk: Talk) -> None:
    await talk.ask()
    answered = await talk.answer()
    expect_equal((answered.status, answered.values("x-first"), answered.values("x-second")), (202, [], ["2"]), "answer")


@check(START)
def exc_info_raises_once_sent(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """With exc_info it raises that exception once the headers are sent."""
    start_response("200 OK", PLAIN)
    yield b"one,"
    try:
        raise IntendedError("raised by the suite, on purpose")
    except IntendedError:
        start_response("500 Too late", PLAIN, sys.exc_info())
    raise Failure("start_response does not raise")


@exc_info_raises_once_sent.client
async def want_a_cut(talk: Talk) -> None:
    await talk.ask()
    try:
        await talk.answer()
    except Failure:
        expect(talk.ended, "the connection does not end")
        return
    raise Failure("the answer looks whole")


@check(START)
def second_start_without_exc_info_raises(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A second start_response without exc_info is a fatal error."""
    start_response("200 OK", PLAIN)
    try:
        start_response("200 OK", PLAIN)
    except Exception:
        return [b"fine"]
    raise Failure("start_response can be called twice")


UNVALIDATED.add("second_start_without_exc_info_raises")


@check(START)
def nothing_is_sent_ahead_of_the_first_part(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The headers wait for the first part that is not empty."""
    start_response("200 OK", PLAIN)
    yield b""
    yield b""
    start_response("202 Changed", PLAIN, _some_exc_info())
    yield b"fine"


def _some_exc_info() -> Any:
    try:
        raise IntendedError("raised by the suite, on purpose")
    except IntendedError:
        return sys.exc_info()


@nothing_is_sent_ahead_of_the_first_part.client
async def want_202(talk: Talk) -> None:
    await talk.ask()
    expect_equal((await talk.answer()).status, 202, "status")


@check(START, Level.SHOULD)
def start_may_be_called_by_the_first_part(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A generator calls start_response only when it is iterated over."""
    start_response("200 OK", PLAIN)
    yield b"fine"


@check(START)
def injected_header_is_not_sent(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A header with a line break in it is an error."""
    try:
        start_response("200 OK", [*PLAIN, ("X-A", "b\r\nX-Injected: yes")])
    except Exception as error:
        raise IntendedError("raised by the server, as it should") from error
    return [b"fine"]


UNVALIDATED.add("injected_header_is_not_sent")


@injected_header_is_not_sent.client
async def look_for_injection(talk: Talk) -> None:
    await talk.ask()
    answered = await talk.answer()
    expect(not answered.values("x-injected"), "it is injected")


@check(BODY)
def length_is_known_of_one_part(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A list of one part needs no length: the answer is framed, and the connection goes on."""
    start_response("200 OK", PLAIN)
    return [b"onetwo"]


async def want_onetwo_twice(talk: Talk) -> None:
    for _ in range(2):
        await talk.ask()
        expect_equal((await talk.answer()).body, b"onetwo", "body")
        if talk.ended:
            return


length_is_known_of_one_part.client(want_onetwo_twice)


@check(BODY)
def length_is_not_needed(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A generator's answer is framed by the server; an empty part is no end."""
    start_response("200 OK", PLAIN)
    yield from (b"one", b"", b"two")


length_is_not_needed.client(want_onetwo_twice)


@check(BODY)
def length_is_not_needed_by_http_1_0(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """To HTTP/1.0 it ends with the connection."""
    start_response("200 OK", PLAIN)
    yield from (b"one", b"two")


@length_is_not_needed_by_http_1_0.client
async def look_at_1_0(talk: Talk) -> None:
    await talk.ask(version=b"1.0")
    answered = await talk.answer()
    expect_equal((answered.body, answered.values("transfer-encoding")), (b"onetwo", []), "body and coding")


@check(BODY)
def no_more_than_the_length_is_sent(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """What is beyond the Content-Length is not sent."""
    start_response("200 OK", [*PLAIN, ("Content-Length", "4")])
    return [b"fine and more"]


@no_more_than_the_length_is_sent.client
async def look_beyond(talk: Talk) -> None:
    await talk.ask(b"", b"Connection: close")
    while not talk.ended:
        await talk.read()
    expect(b"and more" not in talk.data, "more is sent")


@check(BODY)
def short_body_is_seen_to_be_short(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A body shorter than its Content-Length ends the connection."""
    start_response("200 OK", [*PLAIN, ("Content-Length", "10")])
    return [b"one,"]


short_body_is_seen_to_be_short.client(want_a_cut)


@check(BODY, ask=asks(method=b"HEAD"))
def head_has_no_body(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """The body of an answer to HEAD is not sent."""
    start_response("200 OK", [*PLAIN, ("Content-Length", "14")])
    return [b"not to be seen"]


UNVALIDATED.add("head_has_no_body")


@check(BODY)
def status_204_has_no_body(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Neither has a 204."""
    start_response("204 No Content", [])
    return []


@status_204_has_no_body.client
async def want_204_twice(talk: Talk) -> None:
    for _ in range(2):
        await talk.ask()
        expect_equal((await talk.answer()).status, 204, "status")


@check(BUFFERING)
def parts_are_sent_at_once(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A part is on the wire before the next is asked for: the client, which has seen it, asks for the next."""
    if environ["QUERY_STRING"] == "go-on":
        _MEETING[environ["PATH_INFO"]].set()
        return answer(start_response)
    _MEETING[environ["PATH_INFO"]] = threading.Event()
    return _parts(environ, start_response)


def _parts(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", PLAIN)
    yield b"one,"
    # A server of one thread cannot serve the other request meanwhile: then it is enough that the client saw the part.
    _MEETING[environ["PATH_INFO"]].wait(1.0)
    yield b"two"


_MEETING: dict[str, threading.Event] = {}


@parts_are_sent_at_once.client
async def see_the_first_part(talk: Talk) -> None:
    await talk.ask()
    while b"one," not in talk.data:
        await talk.read()
    expect(b"two" not in talk.data, "the first part comes only with the second")
    other = await talk.another()
    try:
        await other.ask(b"?go-on")
        expect_equal((await other.answer()).status, 200, "status of the second request")
    finally:
        await other.close()
    expect_equal((await talk.answer()).body, b"one,two", "body")


@check(BUFFERING)
def close_is_called_at_the_end(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """close() is called at the end (else there is no result)."""
    start_response("200 OK", PLAIN)
    return [b"fine"]


@check(BUFFERING)
def close_is_called_when_the_client_leaves(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """close() is called when the client leaves amid the answer."""
    start_response("200 OK", PLAIN)
    for _ in range(2000):
        yield b"x" * 65536


@close_is_called_when_the_client_leaves.client
async def leave(talk: Talk) -> None:
    await talk.ask()
    await talk.read_until(b"xxx")
    await talk.reset()


@check(BUFFERING)
def large_body_is_sent_whole(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A large body comes whole."""
    start_response("200 OK", PLAIN)
    for number in range(64):
        yield bytes([number]) * 65536


@large_body_is_sent_whole.client
async def read_it_all(talk: Talk) -> None:
    await talk.ask(b"", b"Connection: close")
    wanted = b"".join(bytes([number]) * 65536 for number in range(64))
    expect((await talk.answer()).body == wanted, "the body is not what was sent")


@check("Optional Platform-Specific File Handling")
def file_wrapper_sends_a_file(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """wsgi.file_wrapper, where it is offered, sends a file from where it stands."""
    with open(__file__, "rb") as file:
        wanted = file.read()[7:]
    opened = open(__file__, "rb")  # noqa: SIM115 - the server closes it
    opened.seek(7)
    start_response("200 OK", [*PLAIN, ("X-Length", str(len(wanted)))])
    wrapper = environ.get("wsgi.file_wrapper")
    if wrapper is None:
        opened.close()
        return [wanted]
    sent: Iterable[bytes] = wrapper(opened, 4096)
    return sent


UNVALIDATED.add("file_wrapper_sends_a_file")


@file_wrapper_sends_a_file.client
async def read_the_file(talk: Talk) -> None:
    await talk.ask()
    answered = await talk.answer()
    expect_equal([str(len(answered.body))], answered.values("x-length"), "length")


# errors


@check(ERRORS)
def exception_ahead_of_the_answer_is_a_500(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """An exception ahead of the answer is a 500."""
    raise IntendedError("raised by the suite, on purpose")


async def want_500(talk: Talk) -> None:
    await talk.ask()
    expect_equal((await talk.answer()).status, 500, "status")


exception_ahead_of_the_answer_is_a_500.client(want_500)


@check(ERRORS)
def exception_behind_the_start_is_a_500(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """So it is behind start_response, as long as nothing is sent."""
    start_response("200 OK", PLAIN)
    raise IntendedError("raised by the suite, on purpose")


exception_behind_the_start_is_a_500.client(want_500)


@check(ERRORS)
def exception_amid_the_body_cuts_it(environ: Environ, start_response: StartResponse) -> Iterator[bytes]:
    """An exception amid the body ends the connection, and the client can see that the body is not whole."""
    start_response("200 OK", PLAIN)
    yield b"one,"
    raise IntendedError("raised by the suite, on purpose")


exception_amid_the_body_cuts_it.client(want_a_cut)


@check(ERRORS)
def text_for_bytes_is_an_error(environ: Environ, start_response: StartResponse) -> Iterable[Any]:
    """A body of text is an error, and not sent."""
    start_response("200 OK", PLAIN)
    return ["text"]


UNVALIDATED.add("text_for_bytes_is_an_error")


@text_for_bytes_is_an_error.client
async def want_500_or_a_cut(talk: Talk) -> None:
    await talk.ask()
    try:
        expect_equal((await talk.answer()).status, 500, "status")
    except Failure:
        expect(talk.ended and b"text" not in talk.data.partition(b"\r\n\r\n")[2], "it is sent, or left hanging")


@check(ERRORS)
def no_start_is_an_error(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """A body without start_response is an error."""
    return [b"fine"]


UNVALIDATED.add("no_start_is_an_error")
no_start_is_an_error.client(want_500)
