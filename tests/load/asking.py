"""One request, or a pipelined row of them, over one connection: sends, waits, and says what became of each.

The classification is the whole point of the client, so it is made in one place (`_why_unanswered` and
`judge_answer`), and each of its outcomes occurs in `test_classify.py`.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.load.answers import Answer, AnswerError
from tests.load.connection import LoadConnection
from tests.load.outcomes import Outcome


@dataclass(slots=True)
class Ask:
    """A request with the answer that it must get: `VERSION PID TOKEN\\n`, then `rest`."""

    token: str
    parts: Sequence[bytes]
    """The request's bytes, written one after the other with `gap` seconds between."""
    rest: bytes = b""
    gap: float = 0.0


@dataclass(slots=True)
class Verdict:
    """What became of an `Ask`."""

    ask: Ask
    outcome: Outcome
    detail: str = ""
    version: str = ""
    pid: int = 0
    latency: float = 0.0


class _Progress:
    """How far a row of requests has come."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.sent = 0
        """Requests written completely."""
        self.write_error: OSError | None = None
        self.timed_out = False


async def ask_all(connection: LoadConnection, asks: Sequence[Ask], timeout: float) -> list[Verdict]:
    """Send all requests without waiting for answers in between; return what became of each, in order.

    Afterwards the connection may carry another request if all outcomes are OK, `connection.end` is None and
    `connection.announced_close` is false.
    """
    progress = _Progress()
    if connection.answers.answers or connection.answers.in_head:
        return [Verdict(ask, Outcome.PROTOCOL_ERROR, "bytes came that nobody had asked for") for ask in asks]
    try:
        async with asyncio.timeout(timeout):
            await _send(connection, asks, progress)
            await _receive(connection, len(asks))
    except TimeoutError:
        progress.timed_out = True
    verdicts = [_judge(connection, asks, index, progress) for index in range(len(asks))]
    connection.announced_close = any(answer.closes for answer in connection.answers.answers)
    connection.answers.answers.clear()
    return verdicts


async def _send(connection: LoadConnection, asks: Sequence[Ask], progress: _Progress) -> None:
    if len(asks) > 1:
        row = b"".join(part for ask in asks for part in ask.parts)
        await _send_part(connection, row, progress)
        progress.sent = len(asks) if progress.write_error is None else 0
        return
    for number, part in enumerate(asks[0].parts):
        if number:
            await asyncio.sleep(asks[0].gap)
        if connection.end is not None or connection.answers.answers:
            return  # answered early, or ended: nothing is gained by sending more
        await _send_part(connection, part, progress)
        if progress.write_error is not None:
            return
    progress.sent = 1


async def _send_part(connection: LoadConnection, data: bytes, progress: _Progress) -> None:
    try:
        await connection.send(data)
    except OSError as error:
        progress.write_error = error


async def _receive(connection: LoadConnection, count: int) -> None:
    answers = connection.answers.answers
    while connection.end is None and not (len(answers) >= count and answers[count - 1].complete):
        await connection.wait()


def _judge(connection: LoadConnection, asks: Sequence[Ask], index: int, progress: _Progress) -> Verdict:
    ask = asks[index]
    answers = connection.answers.answers
    answer = answers[index] if index < len(answers) else None
    if answer is None or not answer.complete:
        outcome, detail = _why_unanswered(connection, answer, index, progress)
        return Verdict(ask, outcome, detail)
    verdict = judge_answer(ask, answer, {other.token for other in asks})
    verdict.latency = time.monotonic() - progress.begun
    if len(answers) > len(asks) or (connection.answers.in_head and index == len(asks) - 1):
        return Verdict(ask, Outcome.PROTOCOL_ERROR, "more bytes than were asked for")
    if verdict.outcome is Outcome.OK:
        connection.served_by = verdict.pid
    return verdict


def _why_unanswered(
    connection: LoadConnection, answer: Answer | None, index: int, progress: _Progress
) -> tuple[Outcome, str]:
    """Say why a request has no complete answer."""
    end: Exception | None = connection.end or progress.write_error
    detail = f"{type(end).__name__} {end}" if end is not None else ""
    if isinstance(end, AnswerError):
        return Outcome.PROTOCOL_ERROR, str(end)
    if answer is not None:
        if end is None:
            return Outcome.TIMEOUT, f"{len(answer.body)} bytes of the body had come"
        return Outcome.TRUNCATED_BODY, f"{detail} after {len(answer.body)} bytes"
    if end is None:
        return Outcome.TIMEOUT, "no answer" if not connection.answers.in_head else "half a head had come"
    if connection.answers.in_head and index == len(connection.answers.answers):
        return Outcome.TRUNCATED_HEAD, detail
    if progress.write_error is not None:
        return Outcome.WRITE_RESET, str(progress.write_error)
    if isinstance(end, EOFError):
        return Outcome.EOF_BEFORE_ANSWER, f"request {index + 1} of the row"
    return (Outcome.WRITE_RESET if progress.sent <= index else Outcome.RESET_BEFORE_ANSWER), detail


def judge_answer(ask: Ask, answer: Answer, row: set[str]) -> Verdict:
    """Judge a complete answer; `row` holds the tokens of all requests that were on their way together."""
    if answer.status != 200:
        text = f"{answer.status}: {bytes(answer.body[:200])!r}"
        if 400 <= answer.status <= 599:
            return Verdict(ask, Outcome.STATUS_4XX if answer.status < 500 else Outcome.STATUS_5XX, text)
        return Verdict(ask, Outcome.PROTOCOL_ERROR, text)
    body = bytes(answer.body)
    first, newline, rest = body.partition(b"\n")
    words = first.decode("latin-1").split(" ")
    if not newline or len(words) != 3 or not words[1].isdecimal():
        if answer.until_eof and not newline:
            return Verdict(ask, Outcome.TRUNCATED_BODY, f"the connection ended after {len(body)} bytes")
        return Verdict(ask, Outcome.WRONG_BODY, f"{body[:200]!r}")
    version, pid, token = words
    if token != ask.token:
        outcome = Outcome.WRONG_ORDER if token in row else Outcome.WRONG_BODY
        return Verdict(ask, outcome, f"the answer to {token}")
    if rest != ask.rest:
        if answer.until_eof and ask.rest.startswith(rest):
            return Verdict(ask, Outcome.TRUNCATED_BODY, f"the connection ended after {len(body)} bytes")
        return Verdict(ask, Outcome.WRONG_BODY, f"{len(rest)} bytes instead of {len(ask.rest)}: {rest[:80]!r}")
    return Verdict(ask, Outcome.OK, version=version, pid=int(pid))


async def hold_stream(
    connection: LoadConnection,
    ask: Ask,
    render: Callable[[int], bytes],
    stopped: Callable[[], bool],
    stall_timeout: float,
) -> Verdict:
    """Send a request whose answer never ends; read and check it until `stopped()`; say what became of it.

    `render(n)` is the n-th piece that must come after the answer's first line.
    """
    progress = _Progress()
    await _send(connection, [ask], progress)
    checker = StreamChecker(ask, render)
    moved = time.monotonic()
    while connection.end is None and not stopped() and time.monotonic() - moved < stall_timeout:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await connection.wait()
        answer = connection.answers.answers[0] if connection.answers.answers else None
        if answer is not None and answer.body:
            moved = time.monotonic()
            if not checker.receive_body(answer):
                return Verdict(ask, Outcome.WRONG_BODY, f"piece {checker.pieces}: {checker.text[:80]!r}")
    stalled = connection.end is None and not stopped()
    answer = connection.answers.answers[0] if connection.answers.answers else None
    if connection.end is not None or stalled or answer is None:
        outcome, detail = _why_unanswered(connection, answer, 0, progress)
        return Verdict(ask, outcome, f"{detail}, {checker.pieces} pieces of the stream had come")
    latency = time.monotonic() - progress.begun
    return Verdict(ask, Outcome.OK, version=checker.version, pid=checker.pid, latency=latency)


class StreamChecker:
    """Checks an endless answer piece by piece and lets go of what it has checked."""

    def __init__(self, ask: Ask, render: Callable[[int], bytes]) -> None:
        self.ask = ask
        self.render = render
        self.pieces = 0
        self.version = ""
        self.pid = 0
        self.text = bytearray()

    def receive_body(self, answer: Answer) -> bool:
        """Move the body's bytes out of the answer and check them; false when they are wrong."""
        self.text += answer.body
        answer.body.clear()
        if not self.version and not self._take_first():
            return b"\n" not in self.text
        while self.text:
            piece = self.render(self.pieces)
            if len(self.text) < len(piece):
                return piece.startswith(self.text)
            if not self.text.startswith(piece):
                return False
            del self.text[: len(piece)]
            self.pieces += 1
        return True

    def _take_first(self) -> bool:
        first, newline, rest = bytes(self.text).partition(b"\n")
        words = first.decode("latin-1").split(" ")
        if not newline or len(words) != 3 or not words[1].isdecimal() or words[2] != self.ask.token:
            return False
        self.version, self.pid = words[0], int(words[1])
        self.text[:] = rest
        return True
