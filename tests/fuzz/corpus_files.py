"""The kept corpus: a file for each input, named by its digest, in a directory for each target."""

import hashlib
from pathlib import Path

from tests.fuzz.websocket_targets import conformance_streams
from tests.unit.protocol.corpus import CASES

CORPUS = Path(__file__).parent / "corpus"
_CODECS = ("httptools", "h11", "codecs-agree")
_WEBSOCKET_CODECS = ("websocket-fast", "websocket-wsproto", "websocket-agree")


def load_corpus(target: str) -> list[bytes]:
    """Return the kept inputs of a target, in a fixed order, and for the codecs known streams, too."""
    kept = [path.read_bytes() for path in sorted((CORPUS / target).glob("*"))]
    if target in _CODECS:
        kept += [options + case.data for case in CASES if len(case.data) < 2000 for options in (b"\0\0", b"\2\7")]
    if target in _WEBSOCKET_CODECS:
        kept += conformance_streams()
    return kept


def save(target: str, data: bytes) -> Path:
    """Keep an input; return its file."""
    if target in (*_CODECS, *_WEBSOCKET_CODECS) and data in load_corpus(target):
        return CORPUS / target
    path = CORPUS / target / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
