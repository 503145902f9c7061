"""permessage-deflate from a client's side (RFC 7692): what was offered, what was agreed, compressing, inflating.

The server's part is inflated with exactly the window and the context that were agreed, so that one which
refers further back, or to an earlier message, is found out.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from conformance.websocket.wire import WireError

NAME = "permessage-deflate"
RSV1 = 4

_TAIL = b"\x00\x00\xff\xff"
#: What the data is compressed for is the server's inflating, not the ratio.
_LEVEL = 1
_PIECE_BYTES = 256


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the server's answer makes of the offers."""

    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    server_max_window_bits: int = 15
    client_max_window_bits: int = 15


def parse_agreement(answer: str | None, offers: tuple[str, ...]) -> Agreement | None:
    """Read the `Sec-WebSocket-Extensions` of an answer; None if no extension is agreed.

    Raise `WireError` for an answer that no offer allows (RFC 7692 section 7.1).
    """
    if answer is None:
        return None
    name, parameters = _parse_parameters(answer)
    if name != NAME or not offers:
        raise WireError(f"the extension {answer!r}, which was not offered (RFC 6455 section 9.1)")
    if not any(_allows(_parse_parameters(offer)[1], parameters) for offer in offers):
        raise WireError(f"{answer!r}, which answers none of the offers (RFC 7692 section 7.1)")
    return Agreement(
        "server_no_context_takeover" in parameters,
        "client_no_context_takeover" in parameters,
        int(parameters.get("server_max_window_bits") or 15),
        int(parameters.get("client_max_window_bits") or 15),
    )


def _parse_parameters(text: str) -> tuple[str, dict[str, str | None]]:
    name, *rest = (part.strip() for part in text.split(";"))
    parameters: dict[str, str | None] = {}
    for part in rest:
        key, equals, value = (word.strip() for word in part.partition("="))
        if key in parameters:
            raise WireError(f"the parameter {key} twice (RFC 7692 section 7.1)")
        parameters[key] = value.strip('"') if equals else None
    return name, parameters


def _allows(offer: dict[str, str | None], answer: dict[str, str | None]) -> bool:
    """Whether an answer is one to this offer (sections 7.1.1 and 7.1.2)."""
    for key, value in answer.items():
        if key in ("server_no_context_takeover", "client_no_context_takeover"):
            fits = value is None
        elif key == "server_max_window_bits":
            fits = _is_bits(value) and int(value or 0) <= int(offer.get(key) or 15)
        elif key == "client_max_window_bits":
            fits = key in offer and _is_bits(value) and int(value or 0) <= int(offer[key] or 15)
        else:
            fits = False
        if not fits:
            return False
    # Both must be answered in kind: who leaves them out has not accepted the offer (sections 7.1.1.1, 7.1.2.1).
    return all(key in answer for key in ("server_no_context_takeover", "server_max_window_bits") if key in offer)


def _is_bits(value: str | None) -> bool:
    return value is not None and value.isascii() and value.isdecimal() and value[0] != "0" and 8 <= int(value) <= 15


class Deflate:
    """Compresses what goes out and inflates what comes in, as agreed."""

    def __init__(self, agreement: Agreement) -> None:
        self.agreement = agreement
        self._compressor = self._new_compressor()
        self._inflater = zlib.decompressobj(-agreement.server_max_window_bits)

    def _new_compressor(self) -> "zlib._Compress":
        bits = self.agreement.client_max_window_bits
        # zlib has no window of 8 bits for raw deflate; blocks that are only stored refer to nothing.
        return zlib.compressobj(0, wbits=-9) if bits == 8 else zlib.compressobj(_LEVEL, wbits=-bits)

    def compress(self, payload: bytes) -> bytes:
        """Return a message's payload as it goes on the wire (section 7.2.1)."""
        if self.agreement.client_no_context_takeover:
            self._compressor = self._new_compressor()
        data = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return data.removesuffix(_TAIL)

    def inflate(self, payload: bytes) -> bytes:
        """Return a message as the server meant it (section 7.2.2). Raise `WireError` if there is none."""
        if self.agreement.server_no_context_takeover or self._inflater.eof:
            # After a block with BFINAL, which is allowed, the next message begins anew (section 7.2.3.4).
            self._inflater = zlib.decompressobj(-self.agreement.server_max_window_bits)
        try:
            return b"".join(self._inflate_by_pieces(payload + _TAIL))
        except zlib.error as error:
            raise WireError(f"a message that does not inflate as agreed: {error} (RFC 7692 section 7.2)") from None

    def _inflate_by_pieces(self, data: bytes) -> Iterator[bytes]:
        """Inflate; with a small window in pieces, for zlib holds distances only against what earlier calls gave out."""
        size = 0 if self.agreement.server_max_window_bits == 15 else _PIECE_BYTES
        piece = self._inflater.decompress(data, size)
        yield piece
        while size and (self._inflater.unconsumed_tail or len(piece) == size):
            piece = self._inflater.decompress(self._inflater.unconsumed_tail, size)
            yield piece
