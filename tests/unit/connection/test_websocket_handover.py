"""WebSockets move from one worker's service to another's, and the client notices nothing."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from smoothserve.connection import websocket_moving
from smoothserve.connection.adopting import Adopting
from smoothserve.connection.base import Connection
from smoothserve.connection.offering import Offering
from smoothserve.connection.websocket_options import MAX_STATE_BYTES, HandoverPolicy
from smoothserve.control.channel import Channel, channel_pair
from tests.property.frames import frame
from tests.unit.connection.harness import Server, serving, until
from tests.unit.connection.websocket_client import CLOSE, TEXT, connect, opened

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["fast", "wsproto"])
def codec(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Application:
    """Echoes with its name in front; notes its calls; does on `connect` and at its end what it is told."""

    def __init__(self, name: str, *, attach: bytes | None = b"", subprotocol: str | None = None) -> None:
        self.name = name
        self.attach = attach
        self.subprotocol = subprotocol
        self.scopes: list[Any] = []
        self.disconnects: list[Any] = []
        self.may_return = asyncio.Event()
        self.may_return.set()
        self.may_receive = asyncio.Event()
        self.may_receive.set()
        self.raises_at_end: Exception | None = None
        self.closes_at_end = False
        self.denies = False
        self.calls = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        self.calls += 1
        try:
            assert (await receive())["type"] == "websocket.connect"
            if self.denies:
                await send({"type": "websocket.close", "code": 4001})
                return
            if self.attach is not None:
                scope["extensions"]["smoothserve.handover"]["attach"](self.attach)
            await send({"type": "websocket.accept", "subprotocol": self.subprotocol, "headers": [(b"x", b"y")]})
            while (event := await receive())["type"] != "websocket.disconnect":
                await send({"type": "websocket.send", "text": f"{self.name} {event['text']}"})
                await self.may_receive.wait()
            self.disconnects.append((event["code"], event["reason"]))
            if self.closes_at_end:
                await send({"type": "websocket.close", "code": 1000})
            await self.may_return.wait()
            if self.raises_at_end is not None:
                raise self.raises_at_end
        finally:
            self.calls -= 1


class Pair:
    def __init__(self, old: Server, new: Server) -> None:
        self.old = old
        self.new = new
        self.empty = asyncio.Event()
        self.settled = asyncio.Event()
        self.offering: Offering | None = None

    def reload(self) -> None:
        left, right = channel_pair()
        self.old.service.hand_over(Channel(left), 2, self.settled.set, lambda number: None)
        self.offering = self.old.service.offering
        Adopting(self.new.service, Channel(right))
        self.old.acceptor.stop()
        self.old.service.begin_drain(0.2, self.empty.set)

    async def moved(self) -> None:
        await until(lambda: bool(self.new.service.calls) and not self.old.service.connections)


@asynccontextmanager
async def pair(
    old: Application, new: Application, codec: str, *, new_codec: str | None = None, **options: Any
) -> AsyncIterator[Pair]:
    policy = HandoverPolicy(**{"quiet": 0.01, "timeout": 0.2, **options})
    short = {"handover": policy, "drain_timeout": 0.5, "close_spread": 0.0}
    async with (
        serving(old, websocket=codec, websocket_options=short) as one,
        serving(new, websocket=new_codec or codec, websocket_options={"handover": policy}) as other,
    ):
        both = Pair(one, other)
        yield both
        if both.offering is not None:
            both.offering.close()
            for link in both.offering.links:
                link.channel.close()


def test_a_websocket_moves_with_its_scope_state_and_unfinished_message(run: Run, codec: str) -> None:
    async def scenario() -> None:
        old, new = Application("old", attach=b"state\xff", subprotocol="b"), Application("new", subprotocol="b")
        async with pair(old, new, codec) as both:
            client, _ = await connect(both.old, "/caf%C3%A9?q", b"Sec-WebSocket-Protocol: a, b", b"Cookie: c=d")
            client.text("1")
            assert await client.receive_text() == "old 1"
            client.send(TEXT, b"tw", fin=False)
            client.raw.send(frame(0x80, b"o")[:5])
            await until(lambda: _unread(both.old))
            both.reload()
            await both.moved()
            client.raw.send(frame(0x80, b"o")[5:])
            assert await client.receive_text() == "new two"
            assert old.disconnects == [(1012, "smoothserve.handover")]
            assert (both.old.service.websockets_carried, both.old.service.handed_over) == (1, 1)
            await asyncio.wait_for(both.empty.wait(), 5)
            mine, yours = old.scopes[0], new.scopes[0]
            for name in mine.keys() - {"extensions", "state"}:
                assert yours[name] == mine[name], name
            assert mine["extensions"]["smoothserve.handover"]["resumed"] is False
            extension = yours["extensions"]["smoothserve.handover"]
            assert (extension["version"], extension["resumed"], extension["state"]) == (1, True, b"state\xff")
            client.close(1000)
            assert (await client.closed())[0] == 1000
            assert not both.old.records.lines
            assert not both.new.records.lines
            await client.raw.close()

    run(scenario())


def _unread(server: Server) -> bool:
    (connection,) = server.service.connections
    return bool(getattr(connection, "_codec").leftover())  # noqa: B009


@pytest.mark.parametrize("other", ["fast", "wsproto"])
def test_compression_goes_on_with_its_context(run: Run, codec: str, other: str) -> None:
    async def scenario() -> None:
        old, new = Application("old"), Application("new")
        async with pair(old, new, codec, new_codec=other) as both:
            client, _ = await connect(both.old, "/", b"Sec-WebSocket-Extensions: permessage-deflate")
            compressor, inflater = zlib.compressobj(6, zlib.DEFLATED, -15), zlib.decompressobj(-15)
            text = b"a text that is repeated, and so becomes a reference into the window " * 3
            for name in (b"old ", b"old ", b"new ", b"new "):
                if name == b"new " and not both.new.service.calls:
                    both.reload()
                    await both.moved()
                data = (compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
                client.raw.send(frame(0xC1, data))
                first, payload = await client.frame()
                assert first == 0xC1
                assert inflater.decompress(payload + b"\0\0\xff\xff") == name + text
            await client.raw.close()

    run(scenario())


def test_an_application_at_work_is_left_to_it_and_what_came_meanwhile_is_not_lost(run: Run, codec: str) -> None:
    async def scenario() -> None:
        old, new = Application("old"), Application("new")
        async with pair(old, new, codec) as both, opened(both.old) as client:
            old.may_receive.clear()
            client.text("1")
            assert await client.receive_text() == "old 1"
            both.reload()
            for number in range(2, 20):
                client.text(str(number))
            await asyncio.wait_for(both.settled.wait(), 10)
            assert not both.new.service.connections, "it is at work"
            old.may_receive.set()
            await both.moved()
            names = [await client.receive_text() for _ in range(2, 20)]
            assert [name.split()[1] for name in names] == [str(number) for number in range(2, 20)]
            client.text("20")
            assert await client.receive_text() == "new 20"

    run(scenario())


@pytest.mark.parametrize("how", ["raises", "closes"])
def test_how_the_old_call_ends_does_not_reach_the_wire(run: Run, codec: str, how: str) -> None:
    class WebSocketDisconnect(Exception):  # noqa: N818 - the name is Starlette's
        pass

    async def scenario() -> None:
        old, new = Application("old"), Application("new")
        old.raises_at_end = WebSocketDisconnect() if how == "raises" else None
        old.closes_at_end = how == "closes"
        async with pair(old, new, codec) as both, opened(both.old) as client:
            both.reload()
            await both.moved()
            client.text("1")
            assert await client.receive_text() == "new 1"
            assert not both.old.records.lines

    run(scenario())


def test_it_is_not_offered_before_the_old_call_has_returned_and_closed_if_it_never_does(run: Run) -> None:
    async def scenario() -> None:
        old, new = Application("old"), Application("new")
        old.may_return.clear()
        async with pair(old, new, "fast") as both, opened(both.old) as client:
            both.reload()
            await until(lambda: bool(old.disconnects))
            await until(lambda: any("has not returned" in line for line in both.old.records.lines))
            assert both.settled.is_set(), "the reload does not wait for it any longer"
            assert (await client.closed())[0] == 1012
            assert not both.new.service.connections
            old.may_return.set()

    run(scenario())


def test_on_a_nak_the_old_worker_calls_the_application_again(run: Run, codec: str) -> None:
    async def scenario() -> None:
        old, new = Application("old"), Application("new")
        async with pair(old, new, codec) as both, opened(both.old) as client:
            both.new.service.websockets = None
            both.reload()
            await until(lambda: len(old.scopes) == 2)
            assert old.scopes[1]["extensions"]["smoothserve.handover"]["resumed"] is True
            client.text("1")
            assert await client.receive_text() == "old 1"
            assert old.calls == 1
            assert (await client.closed())[0] == 1012, "it stays, and its time is up at some point"

    run(scenario())


def test_one_that_is_refused_for_the_moment_does_not_hold_the_reload_up_and_is_offered_again_after_a_pause(
    run: Run, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_moving, "REFUSED_PAUSE", 0.5)

    async def scenario() -> None:
        old, new = Application("old"), Application("new")
        async with pair(old, new, codec) as both, opened(both.old) as client:
            both.new.service.draining = True  # it takes nothing now
            both.reload()
            await asyncio.wait_for(both.settled.wait(), 5)
            await until(lambda: len(old.scopes) == 2)
            await asyncio.sleep(0.25)
            assert len(old.scopes) == 2, "the application is not called again and again"
            client.text("1")
            assert await client.receive_text() == "old 1"
            both.new.service.draining = False
            await both.moved()
            client.text("2")
            assert await client.receive_text() == "new 2"
            client.close()

    run(scenario())


def test_when_the_successor_dies_the_old_worker_calls_the_application_again(run: Run, codec: str) -> None:
    async def scenario() -> None:
        old, new = Application("old"), Application("new")
        async with pair(old, new, codec) as both, opened(both.old) as client:
            left, right = channel_pair()
            both.old.service.hand_over(Channel(left), 2, both.settled.set, lambda number: None)
            greeting = Adopting(both.new.service, Channel(right))
            await asyncio.sleep(0.05)
            both.new.service.loop.remove_reader(right.fileno())
            del greeting
            both.old.service.begin_drain(0.2, both.empty.set)
            offering = both.old.service.offering
            assert offering is not None
            await until(lambda: any(link.offers for link in offering.links))
            right.close()
            await until(lambda: len(old.scopes) == 2)
            both.old.service.end_drain()
            client.text("1")
            assert await client.receive_text() == "old 1"

    run(scenario())


@pytest.mark.parametrize("answers", [True, False])
def test_an_application_that_reads_ahead_is_left_to_its_work_until_it_has_answered_or_for_two_seconds(
    run: Run, codec: str, *, answers: bool
) -> None:
    taken: list[str] = []

    async def reads_ahead(scope: Any, receive: Any, send: Any) -> None:
        async def answer(text: str) -> None:
            taken.append(text)
            await asyncio.sleep(0.2)
            if answers:
                await send({"type": "websocket.send", "text": f"old {text}"})

        await receive()
        scope["extensions"]["smoothserve.handover"]["opt_in"]()
        await send({"type": "websocket.accept"})
        working = []
        while (event := await receive())["type"] != "websocket.disconnect":
            working.append(asyncio.create_task(answer(event["text"])))
        for task in working:
            task.cancel()

    async def scenario() -> None:
        async with pair(reads_ahead, Application("new"), codec) as both, opened(both.old) as client:  # type: ignore[arg-type]
            client.text("1")
            await until(lambda: bool(taken))
            began = asyncio.get_running_loop().time()
            both.reload()
            if answers:
                assert await client.receive_text() == "old 1"
            await both.moved()
            assert answers or asyncio.get_running_loop().time() - began >= 1.9
            client.text("2")
            assert await client.receive_text() == "new 2"
            client.close()

    run(scenario())


class ReadsAhead(Application):
    """Queues what it gets, and waits in `receive()` again while a task of its own answers, as Quart does."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        questions: asyncio.Queue[str] = asyncio.Queue()

        async def answer() -> None:
            while True:
                text = await questions.get()
                await asyncio.sleep(0.02)
                await send({"type": "websocket.send", "text": f"{self.name} {text}"})

        await receive()
        scope["extensions"]["smoothserve.handover"]["opt_in"]()
        await send({"type": "websocket.accept"})
        answering = asyncio.create_task(answer())
        while (event := await receive())["type"] != "websocket.disconnect":
            questions.put_nowait(event["text"])
        answering.cancel()


def test_a_client_that_asks_as_soon_as_it_is_answered_moves_behind_an_answer_of_one_that_reads_ahead(
    run: Run, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The moment is too short for anything but the answer itself to find it.
    monkeypatch.setattr(websocket_moving, "POLL_INTERVAL", 1000.0)

    async def scenario() -> None:
        async with pair(ReadsAhead("old"), ReadsAhead("new"), codec, quiet=0.5) as both, opened(both.old) as client:
            number, name = 0, ""
            while name != "new":
                if number == 5:
                    both.reload()
                assert number < 5000
                client.text(str(number))
                name, of = (await client.receive_text()).split()
                assert of == str(number)
                number += 1
            client.close()

    run(scenario())


def test_one_whose_client_takes_nothing_is_not_asked_to_leave_and_does_not_hold_the_reload_up(
    run: Run, codec: str
) -> None:
    class Pushes(Application):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def push() -> None:
                while True:
                    await send({"type": "websocket.send", "bytes": bytes(65536)})

            await receive()
            scope["extensions"]["smoothserve.handover"]["opt_in"]()
            await send({"type": "websocket.accept"})
            pushing = asyncio.create_task(push())
            event = await receive()
            pushing.cancel()
            self.disconnects.append(event["code"])

    async def scenario() -> None:
        old = Pushes("old")
        async with pair(old, Application("new"), codec) as both:
            client, _ = await connect(both.old)
            client.raw.stop_reading()
            (connection,) = both.old.service.connections
            await until(lambda: not getattr(connection, "writable"))  # noqa: B009
            both.reload()
            await asyncio.wait_for(both.settled.wait(), 30)
            assert not old.disconnects, "its call is not ended as long as it could not be offered"
            assert not both.new.service.connections
            client.raw.writer.transport.abort()
            await until(lambda: bool(old.disconnects))

    run(scenario())


@pytest.mark.parametrize("how", ["another subprotocol", "closed", "raised"])
def test_a_new_call_that_does_not_accept_as_before_becomes_a_close_frame(run: Run, how: str) -> None:
    async def scenario() -> None:
        old, new = Application("old", subprotocol="a"), Application("new", subprotocol="a")
        if how == "another subprotocol":
            new.subprotocol = "b"
        elif how == "closed":
            new.denies = True
        else:
            new.attach = bytes(MAX_STATE_BYTES + 1)
        async with pair(old, new, "fast") as both:
            client, _ = await connect(both.old, "/", b"Sec-WebSocket-Protocol: a, b")
            both.reload()
            code, _ = await client.closed()
            assert code == {"another subprotocol": 1012, "closed": 4001, "raised": 1011}[how]
            client.send(CLOSE)
            await client.raw.close()

    run(scenario())


@pytest.mark.parametrize(("mode", "moves"), [("attached", False), ("reenter", True), ("off", False)])
def test_who_has_not_opted_in_moves_only_with_reenter(run: Run, mode: str, moves: bool) -> None:
    async def scenario() -> None:
        old, new = Application("old", attach=None), Application("new", attach=None)
        async with pair(old, new, "fast", mode=mode) as both, opened(both.old) as client:
            both.reload()
            if moves:
                await both.moved()
            else:
                assert (await client.closed())[0] == 1012
                assert not both.new.service.connections
            assert ("smoothserve.handover" in old.scopes[0]["extensions"]) == (mode != "off")

    run(scenario())


def test_one_that_cannot_be_moved_has_the_extension_and_stays(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # As with TLS, whose state no other process can have: the application's code is the same.
    monkeypatch.setattr(Connection, "movable", property(lambda self: False))

    async def scenario() -> None:
        old, new = Application("old"), Application("new")
        async with pair(old, new, "fast") as both, opened(both.old) as client:
            client.text("1")
            assert await client.receive_text() == "old 1"
            both.reload()
            assert (await client.closed())[0] == 1012, "its time is up like that of one that has not opted in"
            assert old.disconnects == [(1012, "the server was reloaded")]
            assert not both.new.service.connections

    run(scenario())


@pytest.mark.parametrize("mode", ["off", "attached"])
def test_the_attach_message_is_no_error_whatever_the_mode(run: Run, mode: str) -> None:
    async def attaches(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.smoothserve.attach", "state": b"1"})
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.smoothserve.attach", "state": b"2"})
        await send({"type": "websocket.send", "text": "here"})
        await receive()

    async def scenario() -> None:
        options = {"handover": HandoverPolicy(mode)}
        async with serving(attaches, websocket_options=options) as server, opened(server) as client:
            assert await client.receive_text() == "here"

    run(scenario())


def test_many_one_way_clients_whose_messages_have_no_answer_all_move(run: Run) -> None:
    class Collects(Application):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await receive()
            scope["extensions"]["smoothserve.handover"]["opt_in"]()
            await send({"type": "websocket.accept"})
            while (await receive())["type"] != "websocket.disconnect":
                pass

    async def scenario() -> None:
        async with pair(Collects("old"), Collects("new"), "fast", quiet=0.05) as both:
            clients = [(await connect(both.old))[0] for _ in range(100)]
            for client in clients:
                client.text("x")
            both.reload()
            await until(lambda: len(both.new.service.calls) == 100 and not both.old.service.connections)
            assert both.old.service.websockets_carried == 100
            for client in clients:
                await client.raw.close()

    run(scenario())


def test_the_policy_matches_paths() -> None:
    policy = HandoverPolicy.parse("reenter:/chat/*", quiet=0.1, timeout=1.0)
    assert policy.opts_in("/chat/1")
    assert not policy.opts_in("/other")
    assert HandoverPolicy.parse("reenter", quiet=0.1, timeout=1.0).opts_in("/other")
    assert not HandoverPolicy.parse("attached", quiet=0.1, timeout=1.0).opts_in("/other")
