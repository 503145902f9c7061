"""What a verb and the master say to each other on the control socket: lines of JSON.

The verb sends one line, `{"version": 1, "verb": "status", ...}`; the master answers with lines, each of a `kind`: any
number of `progress` and, last, one `result` or `error`; then it closes. Unknown fields are ignored on both sides.
"""

import json
from typing import Any

from smoothserve.errors import SmoothserveError

#: Raised when an older reader could no longer understand the lines.
OPERATOR_VERSION = 1
#: A verb's line is at most this long.
MAX_REQUEST_BYTES = 16 * 1024

PROGRESS = "progress"
RESULT = "result"
ERROR = "error"

Line = dict[str, Any]


class OperatorError(SmoothserveError):
    """A line that is not understood; the text is for the operator."""


def render_line(line: Line) -> bytes:
    """Render one line, its end included."""
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def parse_line(data: bytes) -> Line:
    """Parse one line. Raise `OperatorError` if it is not one."""
    try:
        line = json.loads(data)
    except (ValueError, RecursionError):
        raise OperatorError("not a line of JSON") from None
    if not isinstance(line, dict):
        raise OperatorError("not a JSON object")
    return line


def parse_request(data: bytes) -> Line:
    """Parse a verb's line. Raise `OperatorError` if this version cannot do what it asks."""
    line = parse_line(data)
    version, verb = line.get("version"), line.get("verb")
    if type(version) is not int or version < 1 or not isinstance(verb, str):
        raise OperatorError('not a request: {"version": 1, "verb": "status"} is one')
    if version > OPERATOR_VERSION:
        raise OperatorError(
            f"this server speaks version {OPERATOR_VERSION} of the control socket's language, not {version}: "
            "use its own smoothserve command, or stop and start the server"
        )
    return line
