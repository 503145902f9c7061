"""HTTP/1 with the field lines read by h11: the codec without C, and the second opinion on the other one.

h11 is given whole heads only; a fresh `h11.Connection` for each. It joins equal Content-Lengths, unfolds lines, lets
control characters through and gives one status for several faults, so the bare lines are looked at here first.
"""

import re

import h11

from smoothserve.protocol.events import Malformed, Request, RequestLine
from smoothserve.protocol.framing import FramedCodec
from smoothserve.protocol.policy import FIELD_LINE, NOTABLE, Headers, judge

_FIELD_LINES = re.compile(rb"(?:%b)*+\r\n" % FIELD_LINE)
_NOTABLE_LINE = re.compile(rb"^(%b):[\t ]*([^\r\n]*?)[\t ]*\r$" % b"|".join(NOTABLE), re.IGNORECASE | re.MULTILINE)


class H11Codec(FramedCodec):
    """The codec on h11."""

    __slots__ = ()

    def _read_fields(self, line: RequestLine, head: bytes, line_end: int) -> Request | Malformed:
        lines = head[line_end:]
        if not _FIELD_LINES.fullmatch(lines):
            return Malformed(400, "invalid header field")
        notable = [(name.lower(), value) for name, value in _NOTABLE_LINE.findall(lines)]
        connection = h11.Connection(h11.SERVER)
        # The request line has been judged, and some that we accept h11 does not.
        connection.receive_data(b"POST / HTTP/%b\r\n%b" % (line[4].encode(), lines))
        headers: Headers = []
        fault: Malformed | None = None
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            fault = Malformed(400, str(error))
        else:
            if isinstance(event, h11.Request):
                headers = list(event.headers)
        judged = judge(line, headers, notable, self._limits)
        return judged if isinstance(judged, Malformed) else fault or judged
