"""A real nginx in front, in the foreground, with its own configuration and kept connections to the application."""

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Self

from tests.load.connection import Target
from tests.process.processes import wait_until

CONFIGURATION = """\
daemon off;
worker_processes 1;
{user}
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    # The load client's own connections are not what is tested here.
    keepalive_requests 10000000;
    upstream application {{
        server {upstream};
        keepalive 64;
        # nginx closes none by itself: each that is closed is the server's doing.
        keepalive_requests 10000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://application;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
            proxy_buffering off;
            # A request that fails must be seen to fail.
            proxy_next_upstream off;
        }}
    }}
}}
"""


def find_nginx() -> str | None:
    """Return the path of nginx, or None; /usr/sbin is not on everybody's PATH."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


class Nginx:
    """nginx in front of a server. Use it as a context."""

    def __init__(self, directory: Path, upstream: Target) -> None:
        # nginx takes over a listener that is bound already, as its upgrade does: nobody else can have the port.
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(listener.getsockname()[1])
        self.target = Target(port=self.port)
        directory.mkdir()
        self._errors = directory / "error.log"
        configuration = directory / "nginx.conf"
        server = f"unix:{upstream.path}" if upstream.path else f"{upstream.host}:{upstream.port}"
        configuration.write_text(
            CONFIGURATION.format(
                directory=directory,
                upstream=server,
                port=self.port,
                # Its worker must be able to write into the test's directory.
                user="user root;" if os.geteuid() == 0 else "",
            )
        )
        program = find_nginx()
        assert program is not None
        command = [program, "-p", str(directory), "-e", str(self._errors), "-c", str(configuration)]
        self._pid_file = directory / "nginx.pid"
        with listener:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                env={**os.environ, "NGINX": f"{listener.fileno()};"},
            )

    def __enter__(self) -> Self:
        wait_until(self._pid_file.exists, 30, "nginx has started")
        assert self._process.poll() is None, self.complaints()
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        self._process.wait(10)

    def complaints(self) -> str:
        """Return what nginx has written into its error log, warnings and above."""
        lines = self._errors.read_text().splitlines(keepends=True)
        return "".join(line for line in lines if "using inherited sockets" not in line)
