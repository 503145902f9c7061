"""Starts the servers that are modules without a command of their own, by name, application, port and threads.

They are C, and speak WSGI only: bjoern is a loop without threads, uWSGI is behind its own HTTP router here, because a
worker of it that speaks HTTP itself serves one kept connection at a time.
"""

import sys
from importlib import import_module


def main(name: str, app: str, port: str, threads: str) -> None:
    """Serve `app` on 127.0.0.1:`port` until a signal ends it."""
    if name == "bjoern":
        module, _, attribute = app.partition(":")
        import_module("bjoern").run(getattr(import_module(module), attribute), "127.0.0.1", int(port))
        return
    import_module("pyuwsgi").run(
        [
            *("--http", f"127.0.0.1:{port}", "--http-keepalive", "--master", "--processes", "1"),
            *("--enable-threads", "--threads", threads, "--module", app, "--disable-logging", "--die-on-term"),
        ]
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
