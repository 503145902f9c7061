"""A request as a WSGI environ (PEP 3333 "environ Variables", RFC 3875 section 4.1).

Decides the names and text of all variables but `wsgi.input`. What differs from request to request is laid over a copy
of a template. Runs per request: this is the hot path.
"""

from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.types import ErrorStream, FileWrapper, WSGIEnvironment

from smoothserve.protocol.events import Request
from smoothserve.protocol.exchange import ExchangeConnection
from smoothserve.protocol.tls import TLSInfo

#: Bounds on what is remembered of requests, since clients could make it up.
_MAX_NAMES = 512
_MAX_NAME_BYTES = 64
_MAX_TEMPLATES = 64

_DEFAULT_PORTS = {"http": "80", "https": "443"}
_PROTOCOLS = {"1.0": "HTTP/1.0", "1.1": "HTTP/1.1"}

#: Fields that have no variable of their own, or another one than `HTTP_*` (None: no variable).
#: Transfer-Encoding is undone by the time the application reads (RFC 9112 section 7.1.3).
_VARIABLES: dict[bytes, str | None] = {
    b"content-type": "CONTENT_TYPE",
    b"content-length": None,
    b"transfer-encoding": None,
    # An application that trusts HTTP_PROXY would send its own requests to the client's proxy ("httpoxy").
    b"proxy": None,
}


class EnvironBuilder:
    """Makes environs; one for each worker."""

    def __init__(
        self,
        *,
        errors: ErrorStream,
        file_wrapper: FileWrapper,
        multithread: bool,
        multiprocess: bool,
        root_path: str = "",
        extensions: dict[str, Any] | None = None,
    ) -> None:
        # "Bytes as latin-1" is how all text of a request looks in an environ.
        self._script_name = root_path.rstrip("/").encode("utf-8").decode("latin-1")
        if self._script_name and not self._script_name.startswith("/"):
            self._script_name = "/" + self._script_name
        self._fixed: WSGIEnvironment = {
            "wsgi.version": (1, 0),
            "wsgi.errors": errors,
            "wsgi.multithread": multithread,
            "wsgi.multiprocess": multiprocess,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": file_wrapper,
            "wsgi.input_terminated": True,
            "SCRIPT_NAME": self._script_name,
            **(extensions or {}),
        }
        self._templates: dict[tuple[str, tuple[str, int | None] | None], WSGIEnvironment] = {}
        self._names: dict[bytes, str | None] = dict(_VARIABLES)

    def build(self, request: Request, connection: ExchangeConnection, content_length: int | None) -> WSGIEnvironment:
        """Return the environ of a request, without `wsgi.input`. `content_length` is that of the decoded body."""
        key = (connection.scheme, connection.server)
        memo = request.memo
        if memo and memo[0] is self and memo[1] == key and content_length == request.content_length:
            environ: WSGIEnvironment = memo[2].copy()
        else:
            environ = self._build(request, key, content_length)
            if content_length == request.content_length:
                # Kept only for heads that come again.
                request.memo = () if memo is None else (self, key, environ.copy())
        client = connection.client
        if client is not None:
            environ["REMOTE_ADDR"] = client[0]
            environ["REMOTE_PORT"] = str(client[1])
        if connection.tls is not None:
            environ.update(tls_variables(connection.tls))
        return environ

    def _build(
        self, request: Request, key: tuple[str, tuple[str, int | None] | None], content_length: int | None
    ) -> WSGIEnvironment:
        template = self._templates.get(key)
        if template is None:
            template = self._make_template(*key)
        environ = template.copy()
        environ["REQUEST_METHOD"] = request.method
        script_name = self._script_name
        if request.prefix is not None:
            script_name = environ["SCRIPT_NAME"] = request.prefix.encode("utf-8").decode("latin-1")
        environ["PATH_INFO"] = self._path_info(request.raw_path, script_name)
        environ["QUERY_STRING"] = request.query_string.decode("latin-1")
        environ["RAW_URI"] = environ["REQUEST_URI"] = request.target.decode("latin-1")
        environ["SERVER_PROTOCOL"] = _PROTOCOLS[request.http_version]
        if content_length is not None:
            environ["CONTENT_LENGTH"] = str(content_length)
        names = self._names
        for name, value in request.headers:
            variable = names.get(name, "")
            if variable == "":
                variable = self._learn(name)
            if variable is None:
                continue
            if variable not in environ:
                environ[variable] = value.decode("latin-1")
            elif variable != "CONTENT_TYPE":
                # RFC 9110 section 5.3; for Cookie RFC 6265 section 5.4.
                separator = "; " if name == b"cookie" else ","
                environ[variable] += separator + value.decode("latin-1")
        if key[1] is None or key[1][1] is None:
            self._name_server_by_host(environ)
        return environ

    def _learn(self, name: bytes) -> str | None:
        """Return a field's variable and remember it. None for a name that could pass for another one's variable."""
        variable = None if b"_" in name else "HTTP_" + name.decode("latin-1").upper().replace("-", "_")
        if len(self._names) < _MAX_NAMES and len(name) <= _MAX_NAME_BYTES:
            self._names[name] = variable
        return variable

    @staticmethod
    def _path_info(raw_path: bytes, script_name: str) -> str:
        path = (unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path).decode("latin-1")
        if script_name and path.startswith(script_name) and path[len(script_name) :][:1] in ("", "/"):
            return path[len(script_name) :]
        # The asterisk and authority forms (RFC 9112 section 3.2) are no paths.
        return path if path.startswith("/") else ""

    def _make_template(self, scheme: str, server: tuple[str, int | None] | None) -> WSGIEnvironment:
        template = {**self._fixed, "wsgi.url_scheme": scheme, "REMOTE_ADDR": ""}
        if scheme == "https":
            template["HTTPS"] = "on"
        if server is not None and server[1] is not None:
            template["SERVER_NAME"] = server[0]
            template["SERVER_PORT"] = str(server[1])
        if len(self._templates) >= _MAX_TEMPLATES:
            self._templates.clear()
        self._templates[scheme, server] = template
        return template

    @staticmethod
    def _name_server_by_host(environ: WSGIEnvironment) -> None:
        """Take the server's name from the Host field: a unix socket has none, and neither may be empty."""
        host: str = environ.get("HTTP_HOST", "")
        name, colon, port = host.rpartition(":")
        if not colon or "]" in port:
            name, port = host, ""
        environ["SERVER_NAME"] = name or "localhost"
        environ["SERVER_PORT"] = port or _DEFAULT_PORTS.get(environ["wsgi.url_scheme"], "80")


def tls_variables(tls: TLSInfo) -> dict[str, str]:
    """Return the variables of a TLS session under the names that mod_ssl gave them, text as an environ has it."""
    variables = {
        "SSL_PROTOCOL": tls.version,
        "SSL_CIPHER": tls.cipher,
        "SSL_CLIENT_VERIFY": "SUCCESS" if tls.client_chain else "NONE",
    }
    if tls.client_chain:
        variables["SSL_CLIENT_CERT"] = tls.client_chain[0]
        variables["SSL_CLIENT_S_DN"] = _as_text(tls.client_subject)
        variables["SSL_CLIENT_I_DN"] = _as_text(tls.client_issuer)
        variables["SSL_CLIENT_M_SERIAL"] = _as_text(tls.client_serial)
    return variables


def _as_text(text: str | None) -> str:
    return (text or "").encode("utf-8").decode("latin-1")
