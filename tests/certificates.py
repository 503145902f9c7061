"""Certificates made for a test, in files, and a TLS client that tells a proper end of a connection from a torn one."""

import socket
import ssl
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import trustme

TIMEOUT = 20.0
CLOSE_NOTIFY, TORN, RESET = "close_notify", "torn", "reset"


class Certificates:
    """An authority and what it has issued, in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._authority = trustme.CA(organization_name="Test authority")

    @cached_property
    def ca(self) -> str:
        """The file of the authority."""
        path = self.directory / "ca.pem"
        self._authority.cert_pem.write_to_path(path)
        return str(path)

    def issue(self, name: str, *hosts: str, **more: Any) -> tuple[str, str]:
        """Issue a certificate, a renewed one if there is one of that name; return its file and its key's."""
        issued = self._authority.issue_cert(*(hosts or ("localhost", "127.0.0.1")), **more)
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        return str(certificate), str(key)

    def expired(self, name: str) -> tuple[str, str]:
        """Issue a certificate that is no longer valid."""
        return self.issue(name, not_before=datetime(2020, 1, 1), not_after=datetime(2021, 2, 3))  # noqa: DTZ001

    @cached_property
    def options(self) -> tuple[str, ...]:
        """The flags for a server on this machine."""
        certificate, key = self.issue("server")
        return "--certfile", certificate, "--keyfile", key

    def client(self, *, certificate: tuple[str, str] | None = None, **more: Any) -> ssl.SSLContext:
        """Return a context that trusts the authority only."""
        context = ssl.create_default_context(cafile=self.ca)
        if certificate is not None:
            context.load_cert_chain(*certificate)
        for name, value in more.items():
            setattr(context, name, value)
        return context


class TLSClient:
    """A blocking connection. `rest` reads to its end and says how that came."""

    def __init__(self, port: int, context: ssl.SSLContext, host: str = "localhost", first: bytes = b"") -> None:
        self._raw = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        try:
            if first:
                self._raw.sendall(first)
            self.sock = context.wrap_socket(self._raw, server_hostname=host, suppress_ragged_eofs=False)
        except BaseException:
            self._raw.close()
            raise
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.sock.sendall(data)

    def get(self, path: str = "/", **fields: str) -> tuple[int, dict[str, str], bytes]:
        """Ask, and return status, header fields and body."""
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in fields.items())]
        self.send("\r\n".join([*lines, "", ""]).encode())
        return self.answer()

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return the next answer; it has a Content-Length."""
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        size = int(fields.get("content-length", "0"))
        while len(self._buffer) < size:
            self._more()
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return int(head[0].split()[1]), fields, body

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        while len(self._buffer) < count:
            self._more()
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken

    def rest(self) -> tuple[bytes, str]:
        """Return what still comes, and whether the connection ends as TLS wants it."""
        parts = [self._buffer]
        self._buffer = b""
        try:
            while data := self.sock.recv(65536):
                parts.append(data)
        except ssl.SSLEOFError:
            return b"".join(parts), TORN
        except ConnectionError:
            return b"".join(parts), RESET
        return b"".join(parts), CLOSE_NOTIFY

    def _until(self, end: bytes) -> bytes:
        while end not in self._buffer:
            self._more()
        found, _, self._buffer = self._buffer.partition(end)
        return found + end

    def _more(self) -> None:
        data = self.sock.recv(65536)
        assert data, f"the connection has ended after {self._buffer!r}"
        self._buffer += data

    def close(self) -> None:
        """Close without a word."""
        self.sock.close()
