"""A port without TLS that leads to one with it, byte for byte: what speaks plain HTTP can judge a server of TLS.

An end of the client's side becomes close_notify; close_notify becomes an end of file, and an end without it a reset.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator

from tests.load.connection import READ_BYTES, TLSLayer


@contextlib.contextmanager
def tls_pipe(port: int, context: ssl.SSLContext) -> Iterator[int]:
    """Listen while the context lasts; return the port."""
    loop = asyncio.new_event_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    tasks: set[asyncio.Task[None]] = set()

    async def accept() -> None:
        listener.setblocking(False)
        while True:
            client, _ = await loop.sock_accept(listener)
            task = loop.create_task(_join(loop, client, port, context))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    def run() -> None:
        asyncio.set_event_loop(loop)
        accepting = loop.create_task(accept())
        loop.run_forever()
        for task in (accepting, *tasks):
            task.cancel()
        loop.run_until_complete(asyncio.gather(accepting, *tasks, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=run, name="pipe", daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        listener.close()


async def _join(loop: asyncio.AbstractEventLoop, client: socket.socket, port: int, context: ssl.SSLContext) -> None:
    layer = TLSLayer(context)
    with client, socket.socket() as server:
        client.setblocking(False)
        server.setblocking(False)
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(server, ("127.0.0.1", port))
        await layer.shake_hands(loop, server)
        sending = loop.create_task(_send(loop, client, server, layer))
        try:
            await _receive(loop, client, server, layer)
        except OSError:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            sending.cancel()
            await asyncio.wait([sending])


async def _send(loop: asyncio.AbstractEventLoop, client: socket.socket, server: socket.socket, layer: TLSLayer) -> None:
    with contextlib.suppress(OSError):
        while data := await loop.sock_recv(client, READ_BYTES):
            await loop.sock_sendall(server, layer.encrypt(data))
        with contextlib.suppress(ssl.SSLError):
            layer.session.unwrap()
        await loop.sock_sendall(server, layer.outgoing.read())


async def _receive(
    loop: asyncio.AbstractEventLoop, client: socket.socket, server: socket.socket, layer: TLSLayer
) -> None:
    while not layer.ended:
        data = await loop.sock_recv(server, READ_BYTES)
        if not data:
            raise ConnectionResetError("an end of file without close_notify")
        await loop.sock_sendall(client, layer.decrypt(data))
    client.shutdown(socket.SHUT_WR)
    # As a client does that has read everything: it closes, too.
    while await loop.sock_recv(client, READ_BYTES):
        pass
