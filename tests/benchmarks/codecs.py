"""Microseconds that a codec takes for one request: `python -m tests.benchmarks.codecs`.

A request is delivered whole, its events are taken, and the next one is asked for, on one connection, as it is done for
each request that is served.
"""

import sys
import timeit

from smoothserve.protocol.codecs import codec_factory
from smoothserve.protocol.events import Limits

BROWSER = b"""\
GET /static/app/index.html?x=1&y=2 HTTP/1.1
Host: www.example.org
Connection: keep-alive
sec-ch-ua: "Chromium";v="130", "Google Chrome";v="130", "Not?A_Brand";v="99"
sec-ch-ua-mobile: ?0
sec-ch-ua-platform: "Linux"
Upgrade-Insecure-Requests: 1
User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36
Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8
Sec-Fetch-Site: none
Accept-Encoding: gzip, deflate, br, zstd
Accept-Language: en-US,en;q=0.9
Cookie: session=abcdef0123456789; csrftoken=0123456789abcdef0123456789abcdef

""".replace(b"\n", b"\r\n")

REQUESTS = {
    "GET, 2 fields": b"GET / HTTP/1.1\r\nHost: localhost:8000\r\nAccept: */*\r\n\r\n",
    "GET, 12 fields": BROWSER,
    "POST, 13 bytes": b"POST /x HTTP/1.1\r\nHost: localhost:8000\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 13\r\n\r\nHello, world!",
    "POST, 2 chunks": b"POST /x HTTP/1.1\r\nHost: localhost:8000\r\nContent-Type: text/plain\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n6\r\nHello,\r\n7\r\n world!\r\n0\r\n\r\n",
}


def measure(name: str, data: bytes, *, rounds: int = 7) -> float:
    """Return the microseconds for a request, in the best of some rounds."""
    codec = codec_factory(name)(Limits())
    events = codec.events

    def serve() -> None:
        codec.receive_data(data)
        while events:
            events.popleft()
        codec.next_request()

    times, _ = timeit.Timer(serve).autorange()
    return min(timeit.repeat(serve, number=times, repeat=rounds)) / times * 1e6


def main() -> None:
    """Print the table."""
    for name in sys.argv[1:] or ("httptools", "h11"):
        for title, data in REQUESTS.items():
            print(f"{name:10}  {title:15}  {measure(name, data):6.2f} us")


if __name__ == "__main__":
    main()
