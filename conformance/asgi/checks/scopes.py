"""The connection scope of HTTP (ASGI HTTP, "HTTP Connection Scope"): every key, its type and its value."""

import json
from typing import Any

from conformance.asgi.checks.registry import check
from conformance.asgi.events import LIFESPAN, Receive, Scope, Send, answer
from conformance.exchange import Level, Talk, expect, expect_equal, get_fine

SECTION = "HTTP Connection Scope"

#: The keys of the specification; whatever else there is must be in `extensions`, or nobody's.
KEYS = frozenset(
    [
        "type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path", "headers",
        "client", "server", "state", "extensions",
    ]
)  # fmt: skip
REQUIRED = frozenset(["type", "asgi", "http_version", "method", "path", "query_string", "headers"])


def asks(suffix: bytes = b"", *fields: bytes, **keywords: Any) -> Any:
    """Return a client's side that sends this request and wants 200."""

    async def ask(talk: Talk) -> None:
        await talk.ask(suffix, *fields, **keywords)
        answered = await talk.answer(head=keywords.get("method") == b"HEAD")
        expect_equal(answered.status, 200, "status")

    return ask


def values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for other, value in scope["headers"] if other == name]


@check(SECTION)
async def scope_is_a_dict(scope: Scope, receive: Receive, send: Send) -> None:
    """The scope is a dict whose keys are text."""
    expect(isinstance(scope, dict), f"the scope is {type(scope).__name__}")
    expect(all(isinstance(key, str) for key in scope), "a key is not text")
    expect(scope.keys() >= REQUIRED, f"missing: {sorted(REQUIRED - scope.keys())}")
    await answer(send)


@check(SECTION, Level.SHOULD)
async def scope_has_no_keys_of_its_own(scope: Scope, receive: Receive, send: Send) -> None:
    """What the specification does not name is in extensions."""
    expect(scope.keys() <= KEYS, f"unknown keys: {sorted(scope.keys() - KEYS)}")
    await answer(send)


@check(SECTION)
async def type_is_http(scope: Scope, receive: Receive, send: Send) -> None:
    """Type is "http"."""
    expect_equal(scope["type"], "http")
    await answer(send)


@check(SECTION)
async def asgi_version_is_3(scope: Scope, receive: Receive, send: Send) -> None:
    """The version of ASGI is "3.0"."""
    expect_equal(scope["asgi"]["version"], "3.0", "version")
    await answer(send)


@check(SECTION)
async def spec_version_is_known(scope: Scope, receive: Receive, send: Send) -> None:
    """The version of the HTTP specification is one of those that there are."""
    known = ("2.0", "2.1", "2.2", "2.3", "2.4", "2.5")
    expect(scope["asgi"].get("spec_version", "2.0") in known, f"spec_version {scope['asgi'].get('spec_version')!r}")
    await answer(send)


@check(SECTION)
async def http_version_1_1(scope: Scope, receive: Receive, send: Send) -> None:
    """HTTP/1.1 is "1.1"."""
    expect_equal(scope["http_version"], "1.1")
    await answer(send)


@check(SECTION, ask=asks(version=b"1.0"))
async def http_version_1_0(scope: Scope, receive: Receive, send: Send) -> None:
    """HTTP/1.0 is "1.0"."""
    expect_equal(scope["http_version"], "1.0")
    await answer(send)


@check(SECTION, ask=asks(method=b"DELETE"))
async def method_is_text(scope: Scope, receive: Receive, send: Send) -> None:
    """The method is upper-case text."""
    expect_equal(scope["method"], "DELETE")
    await answer(send)


@check(SECTION, ask=asks(method=b"HEAD"))
async def method_head_stays_head(scope: Scope, receive: Receive, send: Send) -> None:
    """HEAD comes as HEAD."""
    expect_equal(scope["method"], "HEAD")
    await answer(send)


@check(SECTION)
async def scheme_is_http(scope: Scope, receive: Receive, send: Send) -> None:
    """The scheme is "http" on a plain connection, and not empty."""
    expect_equal(scope.get("scheme", "http"), "http")
    await answer(send)


@check(SECTION, ask=asks(b"/a%20b%C3%A9%2Fc?d=e"))
async def path_is_decoded(scope: Scope, receive: Receive, send: Send) -> None:
    """The path is text, percent-decoded, as UTF-8, without the query."""
    expect(isinstance(scope["path"], str), "path is not text")
    expect(scope["path"].endswith("/a b\xe9/c"), f"path is {scope['path']!r}")
    await answer(send)


@check(SECTION, ask=asks(b"/a%FF%80b"))
async def path_that_is_no_utf_8_is_served(scope: Scope, receive: Receive, send: Send) -> None:
    """A path that is no UTF-8 does not break the server."""
    expect(isinstance(scope["path"], str), "path is not text")
    await answer(send)


@check(SECTION, ask=asks(b"/a%20b%C3%A9%2fc?d=e"))
async def raw_path_is_as_sent(scope: Scope, receive: Receive, send: Send) -> None:
    """The raw path is bytes as sent, without the query."""
    if scope.get("raw_path") is not None:
        expect(isinstance(scope["raw_path"], bytes), "raw_path is not bytes")
        expect(scope["raw_path"].endswith(b"/a%20b%C3%A9%2fc"), f"raw_path is {scope['raw_path']!r}")
    await answer(send)


@check(SECTION, Level.RELIED)
async def raw_path_is_there(scope: Scope, receive: Receive, send: Send) -> None:
    """There is a raw path."""
    expect(isinstance(scope.get("raw_path"), bytes), "raw_path is not there")
    await answer(send)


@check(SECTION, ask=asks(b"?a=%20b&c=%C3%A9&d?e"))
async def query_string_is_encoded(scope: Scope, receive: Receive, send: Send) -> None:
    """The query is bytes, percent-encoded, without the question mark."""
    expect_equal(scope["query_string"], b"a=%20b&c=%C3%A9&d?e")
    await answer(send)


@check(SECTION)
async def query_string_is_empty_without_a_query(scope: Scope, receive: Receive, send: Send) -> None:
    """Without a query it is empty bytes."""
    expect_equal(scope["query_string"], b"")
    await answer(send)


@check(SECTION)
async def root_path_is_text(scope: Scope, receive: Receive, send: Send) -> None:
    """The root path is text, empty by default."""
    expect_equal(scope.get("root_path", ""), "")
    await answer(send)


@check(SECTION)
async def headers_are_pairs_of_bytes(scope: Scope, receive: Receive, send: Send) -> None:
    """Headers are pairs of bytes, and can be iterated over more than once."""
    for _ in range(2):
        pairs = list(scope["headers"])
        expect(len(pairs) > 0, "no headers")
        for pair in pairs:
            expect(len(pair) == 2, f"{pair!r} is not a pair")
            expect(type(pair[0]) is bytes and type(pair[1]) is bytes, f"{pair!r} is not of bytes")
    await answer(send)


@check(SECTION, ask=asks(b"", b"X-ABC: Def", b"ACCEPT: b"))
async def header_names_are_lower_case(scope: Scope, receive: Receive, send: Send) -> None:
    """Names are lower-cased, values are not."""
    expect_equal(values(scope, b"x-abc"), [b"Def"])
    expect(all(name == name.lower() for name, _ in scope["headers"]), "a name is not lower-case")
    await answer(send)


@check(SECTION, ask=asks(b"", b"X-A: 1", b"X-B: 2", b"X-A: 3", b"X-A: 1"))
async def headers_keep_their_order_and_number(scope: Scope, receive: Receive, send: Send) -> None:
    """Headers are in the order in which they came, repeated ones one by one."""
    mine = [(bytes(name), bytes(value)) for name, value in scope["headers"] if name in (b"x-a", b"x-b")]
    expect_equal(mine, [(b"x-a", b"1"), (b"x-b", b"2"), (b"x-a", b"3"), (b"x-a", b"1")])
    await answer(send)


@check(SECTION, ask=asks(b"", b"X-A: \t b c \t"))
async def header_values_are_stripped(scope: Scope, receive: Receive, send: Send) -> None:
    """Values are without the whitespace around them."""
    expect_equal(values(scope, b"x-a"), [b"b c"])
    await answer(send)


@check(SECTION, ask=asks(b"", b"Cookie: a=b", b"Cookie: c=d"))
async def cookies_are_not_lost(scope: Scope, receive: Receive, send: Send) -> None:
    """Cookie lines come one by one, or joined as HTTP/2 would."""
    expect(values(scope, b"cookie") in ([b"a=b", b"c=d"], [b"a=b; c=d"]), f"cookies are {values(scope, b'cookie')}")
    await answer(send)


@check(SECTION)
async def host_is_a_header(scope: Scope, receive: Receive, send: Send) -> None:
    """Host is among the headers."""
    expect_equal(values(scope, b"host"), [b"a"])
    await answer(send)


@check(SECTION, ask=asks(b"", b"X_A: b", b"X-A: c"))
async def underscores_are_no_dashes(scope: Scope, receive: Receive, send: Send) -> None:
    """A name with an underscore is not one with a dash."""
    expect_equal(values(scope, b"x-a"), [b"c"])
    await answer(send)


@check(SECTION)
async def client_is_its_address(scope: Scope, receive: Receive, send: Send) -> None:
    """The client is host and port of the other end."""
    host, port = scope["client"]
    expect(isinstance(host, str) and type(port) is int, f"client is {scope['client']!r}")
    await answer(send, json.dumps([host, port]).encode())


@client_is_its_address.client
async def ask_for_my_address(talk: Talk) -> None:
    await talk.ask()
    expect_equal(json.loads((await talk.answer()).body), list(talk.address), "client")


@check(SECTION)
async def server_is_its_address(scope: Scope, receive: Receive, send: Send) -> None:
    """The server is host and port that the connection came to."""
    host, port = scope["server"]
    expect(isinstance(host, str) and type(port) is int and port > 0, f"server is {scope['server']!r}")
    await answer(send)


@check(SECTION)
async def extensions_is_a_dict_of_dicts(scope: Scope, receive: Receive, send: Send) -> None:
    """Extensions, if there are any, are dicts by name."""
    extensions = scope.get("extensions") or {}
    expect(isinstance(extensions, dict), "extensions is not a dict")
    for name, content in extensions.items():
        expect(isinstance(name, str) and isinstance(content, dict), f"extension {name!r} is {content!r}")
    await answer(send)


@check("TLS Extension")
async def tls_extension_is_for_tls(scope: Scope, receive: Receive, send: Send) -> None:
    """A plain connection has no TLS extension."""
    expect("tls" not in (scope.get("extensions") or {}), "tls on a plain connection")
    await answer(send)


async def get_twice(talk: Talk) -> None:
    for _ in range(2):
        await get_fine(talk)


@check("Lifespan State", ask=get_twice)
async def state_is_a_copy(scope: Scope, receive: Receive, send: Send) -> None:
    """Each request has a copy of the lifespan's state: what it sets is not seen by another."""
    expect(isinstance(scope["state"], dict), "state is not a dict")
    expect_equal(scope["state"].get("number"), 1, "the state that the lifespan has set")
    expect("mine" not in scope["state"], "what another request has set is seen")
    scope["state"]["mine"] = True
    await answer(send)


@check("Lifespan State", ask=get_twice)
async def state_is_a_shallow_copy(scope: Scope, receive: Receive, send: Send) -> None:
    """What the state holds is the same object in every request."""
    shared = scope["state"]["shared"]
    expect(shared is LIFESPAN["shared"], "not the object that the lifespan has put there")
    await answer(send)


@check("Middleware", ask=get_twice)
async def scope_is_of_one_request(scope: Scope, receive: Receive, send: Send) -> None:
    """A scope can be changed without another request seeing it."""
    expect("mine" not in scope, "the scope of another request")
    scope["mine"] = True
    scope["headers"] = [*scope["headers"], (b"x-mine", b"1")]
    await answer(send)
