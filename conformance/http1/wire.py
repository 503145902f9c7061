"""Read what a server has said on a connection, as strictly as a client may: answers, and what is wrong with them."""

import re
from dataclasses import dataclass, field

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2}) ([\t \x21-\x7e\x80-\xff]*)")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*([\t \x21-\x7e\x80-\xff]*?)[\t ]*")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")


@dataclass
class Read:
    """One answer as it was read."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes = b""
    whole: bool = True
    faults: list[str] = field(default_factory=list)
    """What RFC 9110 or 9112 forbid a server to send."""
    interim: list[int] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        """Return the values of a field."""
        return [value for other, value in self.fields if other == name]


def read_answers(data: bytes, *, closed: bool, head: tuple[int, ...] = ()) -> list[Read]:
    """Read all answers; `head` says which of them have no content because they answer HEAD."""
    answers: list[Read] = []
    interim: list[int] = []
    while data:
        answer, data = _read_answer(data, closed=closed, is_head=len(answers) in head)
        if 100 <= answer.status < 200 and answer.status != 101:
            interim.append(answer.status)
            if not answer.faults:
                continue
        answer.interim = interim
        interim = []
        answers.append(answer)
        if answer.faults and answer.status == 0:
            break
    return answers


def _read_answer(data: bytes, *, closed: bool, is_head: bool) -> tuple[Read, bytes]:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return Read(0, [], data, whole=False, faults=[f"no answer: {data[:60]!r}"]), b""
    lines = data[:end].split(b"\r\n")
    rest = data[end + 4 :]
    match = _STATUS_LINE.fullmatch(lines[0])
    if match is None:
        return Read(0, [], data, whole=False, faults=[f"invalid status line {lines[0][:60]!r}"]), b""
    answer = Read(int(match[1]), [])
    for line in lines[1:]:
        found = _FIELD.fullmatch(line)
        if found is None:
            answer.faults.append(f"invalid field line {line[:60]!r}")
        else:
            answer.fields.append((found[1].decode().lower(), found[2].decode("latin-1")))
    codings, lengths = answer.values("transfer-encoding"), answer.values("content-length")
    _judge_framing(answer, codings, lengths)
    if is_head or answer.status < 200 or answer.status in (204, 304):
        return answer, rest
    if codings:
        return answer, _read_chunks(answer, rest)
    if lengths and not answer.faults:
        length = int(lengths[0])
        answer.body = rest[:length]
        answer.whole = len(rest) >= length
        return answer, rest[length:]
    answer.body = rest
    answer.whole = closed
    return answer, b""


def _judge_framing(answer: Read, codings: list[str], lengths: list[str]) -> None:
    if codings and lengths:
        answer.faults.append("Transfer-Encoding and Content-Length together")
    if len(lengths) > 1 or not all(length.isdecimal() for length in lengths):
        answer.faults.append(f"Content-Length {lengths}")
    if codings and codings != ["chunked"]:
        answer.faults.append(f"Transfer-Encoding {codings}")
    if (answer.status < 200 or answer.status == 204) and (codings or lengths):
        answer.faults.append(f"{answer.status} with framing fields")


def _read_chunks(answer: Read, data: bytes) -> bytes:
    while (match := _CHUNK.match(data)) is not None:
        size = int(match[1], 16)
        begin = match.end()
        if not size:
            if data[begin : begin + 2] == b"\r\n":
                return data[begin + 2 :]
            break
        answer.body += data[begin : begin + size]
        if data[begin + size : begin + size + 2] != b"\r\n":
            break
        data = data[begin + size + 2 :]
    answer.whole = False
    return b""
