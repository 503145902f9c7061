"""Streams of HTTP/1 requests, well-formed and damaged, for property tests of the codecs."""

from hypothesis import strategies as st

from tests.unit.protocol.corpus import CASES

_METHODS = st.sampled_from(
    [
        b"GET",
        b"POST",
        b"HEAD",
        b"OPTIONS",
        b"PUT",
        b"CONNECT",
        b"BREW",
        b"get",
        b"PRI",
        b"SOURCE",
        b"QUERY",
        b"M-SEARCH",
    ]
)
_TARGETS = st.sampled_from(
    [
        b"/",
        b"/a?b",
        b"*",
        b"http://b/c?d",
        b"a:80",
        b"/\xc3\xa9",
        b"/a#b",
        b"//",
        b"/%00",
        b"ftp://a/",
        b"http://[::1]:80",
    ]
)
_VERSIONS = st.sampled_from(
    [b"HTTP/1.1"] * 6 + [b"HTTP/1.0"] * 2 + [b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1"]
)
_NAMES = st.sampled_from(
    [
        b"Host", b"host", b"Content-Length", b"CONTENT-LENGTH", b"Transfer-Encoding", b"transfer-encoding",
        b"Connection", b"Upgrade", b"Expect", b"X", b"Cookie", b"Proxy-Connection", b"Keep-Alive", b"TE", b"Trailer",
        b"X_Y", b"Content-Type",
    ]
)  # fmt: skip
_VALUES = st.sampled_from(
    [
        b"", b"a", b"a:80", b"[::1]", b"a b", b"0", b"3", b"03", b"3, 3", b"+3", b"1_0", b"99999999999999999999",
        b"chunked", b"Chunked", b"gzip", b"gzip, chunked", b"chunked, gzip", b"identity", b",chunked", b"chunked ",
        b"close", b"keep-alive", b"upgrade", b"x, close", b"keep-alive, Upgrade", b"websocket", b"h2c",
        b"100-continue", b"100-continue, x", b"\xff", b"a\x01", b"a\r\n b", b"a\rb", b"a\nb",
    ]
)  # fmt: skip
_WHITESPACE = st.sampled_from([b" "] * 4 + [b"", b"\t", b"  "])
_LINE_ENDS = st.sampled_from([b"\r\n"] * 30 + [b"\n", b"\r", b"\r\r\n", b"\r\n\r\n"])

_FIELD = st.tuples(
    _NAMES, st.sampled_from([b":"] * 20 + [b" :", b"", b"::"]), _WHITESPACE, _VALUES, _WHITESPACE, _LINE_ENDS
).map(b"".join)
_PLAIN_FIELD = st.sampled_from(
    [b"X: y\r\n", b"Accept: */*\r\n", b"Connection: keep-alive\r\n", b"Cookie: a=b\r\n", b"Connection: close\r\n"]
)


def fields() -> st.SearchStrategy[bytes]:
    """One field line, well-formed or not."""
    return st.one_of(_FIELD, _PLAIN_FIELD)


_CHUNK_EXTENSIONS = st.sampled_from([b""] * 8 + [b";a", b';a="b;c"', b" ;a = b", b";", b";a\x01", b" ", b';a="\\\n"'])
_TRAILERS = st.lists(
    st.sampled_from([b"X: y\r\n", b"Content-Length: 3\r\n", b"Z:\r\n", b"Z : y\r\n", b" z\r\n"]), max_size=2
).map(b"".join)


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    parts = []
    for data in draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4)):
        size = draw(st.sampled_from([b"%x", b"%X", b"0%x", b"%x", b"%x"])) % len(data)
        parts.append(size + draw(_CHUNK_EXTENSIONS) + draw(_LINE_ENDS) + data + draw(_LINE_ENDS))
    return b"".join(parts) + b"0" + draw(_CHUNK_EXTENSIONS) + b"\r\n" + draw(_TRAILERS) + b"\r\n"


@st.composite
def good_requests(draw: st.DrawFn) -> bytes:
    """One request that is served."""
    fields = [b"Host: a\r\n", *draw(st.lists(_PLAIN_FIELD, max_size=3))]
    body = draw(st.one_of(st.none(), st.binary(max_size=40)))
    if body is None:
        pass
    elif draw(st.booleans()):
        fields.append(b"Content-Length: %d\r\n" % len(body))
    else:
        fields.append(b"Transfer-Encoding: chunked\r\n")
        half = len(body) // 2
        chunks = [part for part in (body[:half], body[half:]) if part]
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in chunks) + b"0\r\n\r\n"
    line = draw(
        st.sampled_from(
            [b"GET / HTTP/1.1", b"POST /a?b HTTP/1.1", b"PUT http://b/c HTTP/1.1", b"BREW /\xc3\xa9 HTTP/1.1"]
        )
    )
    return line + b"\r\n" + b"".join(draw(st.permutations(fields))) + b"\r\n" + (body or b"")


@st.composite
def doubtful_requests(draw: st.DrawFn) -> bytes:
    """One request of parts that may not go together."""
    line = draw(_METHODS) + b" " + draw(_TARGETS) + b" " + draw(_VERSIONS) + draw(_LINE_ENDS)
    fields = draw(st.lists(st.one_of(_FIELD, st.just(b"Host: a\r\n")), max_size=6))
    body = draw(st.one_of(st.just(b""), st.just(b"abc"), chunked_bodies()))
    return line + b"".join(fields) + b"\r\n" + body


_REQUESTS = st.one_of(
    good_requests(), doubtful_requests(), st.sampled_from([case.data for case in CASES if len(case.data) < 500])
)
_DAMAGE = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"\x00", b" ", b"\t", b":", b",", b";", b"\x80", b"0", b"a", b"#", b"\x7f", b'"', b""]
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Requests one after another, some of them damaged."""
    data = b"".join(draw(st.lists(_REQUESTS, min_size=1, max_size=4)))
    for damage in draw(st.lists(_DAMAGE, max_size=3)):
        begin = draw(st.integers(0, len(data)))
        end = begin + draw(st.integers(0, 2))
        data = data[:begin] + damage + data[end:]
    return data
