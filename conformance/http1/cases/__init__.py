"""All cases, by subject."""

from conformance.http1.cases import answers, chunks, connections, fields, framing, lines
from conformance.http1.model import Case

CASES: tuple[Case, ...] = (
    *lines.CASES,
    *fields.CASES,
    *framing.CASES,
    *chunks.CASES,
    *connections.CASES,
    *answers.CASES,
)
