"""A request as a connection scope (ASGI HTTP, "HTTP Connection Scope").

What a head says is worked out when it comes for the first time; for a head that comes again, what differs from one
connection to another is laid over a copy. Runs per request: this is the hot path.
"""

from typing import Any
from urllib.parse import unquote_to_bytes

from smoothserve.protocol.events import Request
from smoothserve.protocol.exchange import ExchangeConnection
from smoothserve.protocol.tls import VERSIONS, TLSInfo
from smoothserve.protocol.websocket.exchange import WebSocketLink


class ScopeBuilder:
    """Makes scopes; one for each worker."""

    def __init__(self, *, spec_version: str, root_path: str, state: dict[str, Any], extensions: dict[str, Any]) -> None:
        self._asgi = {"version": "3.0", "spec_version": spec_version}
        self._root_path = root_path
        self._raw_root_path = root_path.encode("utf-8")
        self._state = state
        self._extensions = extensions

    def build(self, connection: ExchangeConnection | WebSocketLink, request: Request) -> dict[str, Any]:
        """Return the scope of a request.

        As with uvicorn, a configured root path is in front of `path` and `raw_path`; so is what a proxy has cut off.
        """
        memo = request.memo
        scope: dict[str, Any]
        if memo:
            scope = memo.copy()
        else:
            scope = self._build(request)
            # Kept only for heads that come again.
            request.memo = () if memo is None else scope.copy()
        scope["asgi"] = self._asgi.copy()
        scope["scheme"] = connection.scheme
        scope["headers"] = request.headers.copy()
        scope["client"] = connection.client
        scope["server"] = connection.server
        scope["state"] = self._state.copy()
        scope["extensions"] = extensions = self._extensions.copy()
        if connection.tls is not None:
            extensions["tls"] = tls_extension(connection.tls)
        return scope

    def _build(self, request: Request) -> dict[str, Any]:
        """Return all that the head says, and a place for all else."""
        raw_path = request.raw_path
        # Not `b"%" in`: the interpreter takes that for a number first, and writes an error text (3,000 instructions).
        if raw_path.find(b"%") >= 0:
            path = unquote_to_bytes(raw_path).decode("utf-8", "replace")
        else:
            path = raw_path.decode("utf-8", "replace")
        root_path = self._root_path
        if request.prefix is not None:
            root_path = request.prefix
            path = root_path + path
            raw_path = root_path.encode("utf-8") + raw_path
        elif root_path:
            path = root_path + path
            raw_path = self._raw_root_path + raw_path
        return {
            "type": "http",
            "asgi": None,
            "http_version": request.http_version,
            "method": request.method.upper(),
            "scheme": None,
            "path": path,
            "raw_path": raw_path,
            "query_string": request.query_string,
            "root_path": root_path,
            "headers": None,
            "client": None,
            "server": None,
            "state": None,
            "extensions": None,
        }


def tls_extension(tls: TLSInfo) -> dict[str, Any]:
    """Say what the ASGI TLS extension (0.2) says of a session. Whoever fails verification does not get this far."""
    return {
        "server_cert": tls.server_certificate,
        "client_cert_chain": tls.client_chain,
        "client_cert_name": tls.client_subject,
        "client_cert_error": None,
        "tls_version": VERSIONS.get(tls.version),
        "cipher_suite": tls.cipher_number,
    }
