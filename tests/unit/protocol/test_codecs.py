"""Codecs are found by their names."""

import sys

import pytest

from smoothserve.protocol.codecs import CODECS, codec_factory
from smoothserve.protocol.h11_codec import H11Codec
from smoothserve.protocol.httptools_codec import HttptoolsCodec


def test_each_name_has_its_codec() -> None:
    assert codec_factory("httptools") is HttptoolsCodec
    assert codec_factory("h11") is H11Codec
    assert codec_factory("auto") is HttptoolsCodec
    assert set(CODECS) == {"auto", "httptools", "h11"}


def test_without_httptools_auto_is_h11(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smoothserve.protocol.httptools_codec", None)
    assert codec_factory("auto") is H11Codec
    with pytest.raises(ImportError):
        codec_factory("httptools")


def test_another_name_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"'quick'.*auto, httptools, h11"):
        codec_factory("quick")
