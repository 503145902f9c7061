"""The root of the metrics' process: `python -P -m smoothserve.metrics LISTENER LIFELINE CONTROL-SOCKET`.

Started by the master, and over when the master is: the lifeline is at its end then. Each answer asks the master afresh.
"""

import http.server
import os
import socket
import sys
import threading
from typing import Any

from smoothserve.errors import SmoothserveError
from smoothserve.metrics.render import CONTENT_TYPE, render_metrics
from smoothserve.verbs.client import Server

#: Seconds for a client to send its request and take its answer.
CLIENT_TIMEOUT = 10


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET /metrics (and /), and HEAD as that."""

    timeout = CLIENT_TIMEOUT
    control: Server

    def do_GET(self) -> None:
        """Answer with all metrics, 503 if the master does not answer."""
        if self.path.partition("?")[0] not in {"/", "/metrics"}:
            self._answer(404, "text/plain", "the metrics are at /metrics\n")
            return
        try:
            text = render_metrics(self.control.tell("status"))
        except SmoothserveError as error:
            self._answer(503, "text/plain", f"{error}\n")
        else:
            self._answer(200, CONTENT_TYPE, text)

    def do_HEAD(self) -> None:
        """Answer as to GET, without the body."""
        self.do_GET()

    def _answer(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""


def main(argv: list[str]) -> None:
    """Answer until the master is gone."""
    lifeline = int(argv[2])
    threading.Thread(target=_wait_for_the_end, args=(lifeline,), daemon=True).start()
    Handler.control = Server(argv[3])
    server = http.server.ThreadingHTTPServer(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=int(argv[1]))
    server.socket.setblocking(True)
    server.daemon_threads = True
    server.serve_forever(poll_interval=3600)


def _wait_for_the_end(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv)
