"""The codecs by their names."""

from collections.abc import Callable

from smoothserve.protocol.events import Codec, Limits

CODECS = ("auto", "httptools", "h11")


def codec_factory(name: str) -> Callable[[Limits], Codec]:
    """Return the codec of that name; `auto` is httptools where it can be imported, else h11.

    Raise `ImportError` if its library is missing, `ValueError` for a name that is none of `CODECS`.
    """
    if name == "auto":
        try:
            return codec_factory("httptools")
        except ImportError:
            return codec_factory("h11")
    if name == "httptools":
        from smoothserve.protocol.httptools_codec import HttptoolsCodec

        return HttptoolsCodec
    if name == "h11":
        from smoothserve.protocol.h11_codec import H11Codec

        return H11Codec
    raise ValueError(f"no codec is called {name!r}: choose from {', '.join(CODECS)}")
