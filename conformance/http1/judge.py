"""Whether what was read on a connection is one of a case's outcomes, and in a few words what it was."""

import json
from dataclasses import dataclass
from typing import Any

from conformance.http1.model import Answer, Case, Outcome, Saw
from conformance.http1.wire import Read, read_answers


@dataclass(frozen=True)
class Observed:
    """What happened on a case's connection."""

    data: bytes
    closed: bool
    """The server ended the connection, rather than the runner its patience."""
    reset: bool = False
    unreachable: str = ""


@dataclass(frozen=True)
class Verdict:
    """The judgement of one case."""

    case: Case
    passed: bool
    seen: str
    """What was observed, without anything that changes from run to run."""


def judge(case: Case, observed: Observed) -> Verdict:
    """Judge what was observed."""
    if observed.unreachable:
        return Verdict(case, False, observed.unreachable)
    answers = read_answers(observed.data, closed=observed.closed, head=case.head)
    faulty = any(answer.faults for answer in answers)
    passed = not faulty and any(_fits(outcome, answers, closed=observed.closed) for outcome in case.accept)
    end = "reset" if observed.reset else "closed" if observed.closed else "left open"
    return Verdict(case, passed, ", ".join([*map(_render, answers), end]))


def _fits(outcome: Outcome, answers: list[Read], *, closed: bool) -> bool:
    if outcome.closed is not None and outcome.closed != closed:
        return False
    if len(answers) != len(outcome.answers):
        return False
    if outcome.interim is not None and (not answers or tuple(answers[0].interim) != outcome.interim):
        return False
    return all(_matches(wanted, answer) for wanted, answer in zip(outcome.answers, answers, strict=True))


def _matches(wanted: Answer, answer: Read) -> bool:
    if answer.status not in wanted.statuses or answer.whole != wanted.whole:
        return False
    if wanted.body is not None and answer.body != wanted.body:
        return False
    for name, value in wanted.fields:
        values = [one.lower() for one in answer.values(name)]
        if not values or (value != "*" and value.lower() not in values):
            return False
    if any(answer.values(name) for name in wanted.without):
        return False
    return wanted.saw is None or _was_seen(wanted.saw, answer)


def _was_seen(saw: Saw, answer: Read) -> bool:
    seen = _echo(answer)
    if seen is None:
        return False
    if any(
        wanted is not None and wanted != seen.get(name)
        for name, wanted in (("method", saw.method), ("path", saw.path), ("query", saw.query))
    ):
        return False
    if saw.body is not None and seen.get("body") != saw.body.decode("latin-1"):
        return False
    fields = [(name.lower(), value) for name, value in seen.get("fields", [])]
    names = [name for name, _ in fields]
    if any([value for other, value in fields if other == name] != [wanted] for name, wanted in saw.fields):
        return False
    return not any(name in names for name in saw.without) and not any(pair in fields for pair in saw.unlike)


def _echo(answer: Read) -> dict[str, Any] | None:
    try:
        seen = json.loads(answer.body)
    except ValueError:
        return None
    return seen if isinstance(seen, dict) else None


def _render(answer: Read) -> str:
    if answer.status == 0:
        return answer.faults[0]
    seen = _echo(answer)
    parts = [*map(str, answer.interim), str(answer.status)]
    if seen is not None:
        body = str(seen.get("body", ""))
        parts.append(f"{seen.get('method')} {seen.get('path')}"[:60])
        if body:
            parts.append(f"with {body[:30]!r}" if len(body) <= 30 else f"with {len(body)} bytes")
    if not answer.whole:
        parts.append("(not whole)")
    if answer.faults:
        parts.append(f"({'; '.join(answer.faults)})")
    return " ".join(parts)
