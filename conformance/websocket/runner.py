"""Runs cases against a server, several at a time, and judges each."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from conformance.target import Target
from conformance.websocket import closing, compression, framing, limits, utf8
from conformance.websocket.cases import Behaviour, Case, Closing, Event, Rounds, octets
from conformance.websocket.client import Link
from conformance.websocket.wire import WireError

CASES: tuple[Case, ...] = tuple(
    sorted(
        [*framing.CASES, *utf8.CASES, *closing.CASES, *limits.CASES, *compression.CASES],
        key=lambda case: [int(part) for part in case.number.split(".")],
    )
)

#: What --quick does of a case that sends 1,000 messages one after the other.
QUICK_MESSAGES = 20


@dataclass(frozen=True, slots=True)
class Options:
    """How to run."""

    target: Target
    path: str = "/"
    patience: float = 10.0
    """Seconds that a server may take for anything it is to do."""
    concurrency: int = 16
    messages: int | None = None
    """No more messages than this in a case that sends many, one after the other."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a case came out."""

    number: str
    says: str
    behaviour: Behaviour
    closing: Closing
    code: int | None
    """The code of the server's close frame."""
    detail: str
    """What differs, for a reader."""
    seconds: float
    mute: bool = False
    """Whether the server failed the connection without a close frame that says why, as it should (section 7.1.7)."""

    @property
    def failed(self) -> bool:
        """Whether the server is at fault."""
        bad = self.behaviour is Behaviour.FAILED
        return bad or self.closing not in (Closing.OK, Closing.INFORMATIONAL)

    @property
    def strict(self) -> bool:
        """Whether nothing is left to be wished for."""
        return not self.failed and self.behaviour in (Behaviour.OK, Behaviour.INFORMATIONAL) and not self.mute


def select(wanted: Callable[[str], bool], *, quick: bool) -> list[Case]:
    """Return the wanted cases; `quick` leaves out the heavy ones."""
    return [case for case in CASES if wanted(case.number) and not (quick and case.heavy)]


async def run(cases: Sequence[Case], options: Options) -> list[Result]:
    """Run the cases, the heavy ones last and fewer at a time; return their results in the order of the cases."""
    results: dict[str, Result] = {}
    heavy = [case for case in cases if case.heavy]
    light = [case for case in cases if not case.heavy]
    for group, concurrency in ((light, options.concurrency), (heavy, min(options.concurrency, 4))):
        waiting = iter(group)

        async def work(waiting: Iterator[Case] = waiting) -> None:
            for case in waiting:
                results[case.number] = await run_case(case, options)

        async with asyncio.TaskGroup() as workers:
            for _ in range(min(concurrency, len(group))):
                workers.create_task(work())
    return [results[case.number] for case in cases]


async def run_case(case: Case, options: Options) -> Result:
    """Run one case on a connection of its own."""
    began = time.monotonic()
    try:
        link = await Link.open(options.target, options.path, case.offers, case.number, options.patience)
    except (WireError, OSError) as error:
        detail = str(error) or f"no connection within {options.patience:g} s"
        return Result(case.number, case.says, Behaviour.FAILED, Closing.UNCLEAN, None, detail, 0)
    try:
        unimplemented = bool(case.offers) and link.deflate is None
        if not unimplemented:
            await _play(case, link, options)
        limit = case.limit or options.patience
        await link.finish(limit, lambda: unimplemented or _settled(case, link))
    finally:
        link.drop()
    behaviour, closing, detail = (Behaviour.UNIMPLEMENTED, Closing.OK, "") if unimplemented else judge(case, link)
    mute = link.code is None and 1000 not in case.codes
    return Result(case.number, case.says, behaviour, closing, link.code, detail, time.monotonic() - began, mute)


async def _play(case: Case, link: Link, options: Options) -> None:
    for step in case.script:
        if isinstance(step, Rounds) and options.messages is not None:
            await link.do(replace(step, messages=min(step.messages, options.messages)))
        else:
            await link.do(step)


def _settled(case: Case, link: Link) -> bool:
    """Whether it is on us to close: all has come that is expected, or something else."""
    count = len(link.events)
    return case.ours and (count == len(case.expect) or not _same(link.events, case.expect[:count]))


def _same(events: Sequence[Event], expected: Sequence[Event]) -> bool:
    return len(events) == len(expected) and all(map(Event.same, events, expected))


def judge(case: Case, link: Link) -> tuple[Behaviour, Closing, str]:
    """Compare what happened with what the case expects."""
    if link.fault is not None:
        return Behaviour.FAILED, Closing.UNCLEAN, f"the server sent {link.fault}"
    closing, detail = _judge_closing(case, link)
    if case.informational:
        return Behaviour.INFORMATIONAL, Closing.INFORMATIONAL, detail
    if closing in case.fatal:
        return Behaviour.FAILED, closing, detail
    if _same(link.events, case.expect):
        return Behaviour.OK, closing, detail
    differs = f"expected {_names(case.expect)}, got {_names(link.events)}{f'; {detail}' if detail else ''}"
    if case.loosely is not None and _same(link.events, case.loosely):
        return Behaviour.NON_STRICT, closing, differs
    return Behaviour.FAILED, closing, differs


def _judge_closing(case: Case, link: Link) -> tuple[Closing, str]:
    if case.ours != link.closed_by_us:
        if link.closed_by_us:
            return Closing.WRONG_SIDE, "the server did not fail the connection"
        how = (
            f"with {link.code or 'an empty close frame'}"
            if link.got_close
            else f"by {link.ended} without a close frame"
        )
        return Closing.WRONG_SIDE, f"the server ended the connection first, {how}"
    if case.clean and not (link.sent_close and link.got_close):
        return Closing.UNCLEAN, f"no close frame came, the connection ended by {link.ended}"
    if link.code is not None and link.code not in case.codes:
        return Closing.WRONG_CODE, f"the close frame says {link.code} and not {' or '.join(map(str, case.codes))}"
    if link.ended == "dropped":
        return Closing.NOT_DROPPED, "the server left it to the client to drop the TCP connection"
    return Closing.OK, ""


def _names(events: Sequence[Event]) -> str:
    return ", ".join(_name(event) for event in events) or "nothing"


def _name(event: Event) -> str:
    if event.kind in ("rounds", "open"):
        return octets(event.payload).decode() or "all echoes"
    return f"a {event.kind} of {len(octets(event.payload))} octets"
