"""Every codec test runs on every codec."""

import pytest

from smoothserve.protocol.codecs import codec_factory
from tests.unit.protocol.delivery import MakeCodec


@pytest.fixture(params=["httptools", "h11"])
def make_codec(request: pytest.FixtureRequest) -> MakeCodec:
    return codec_factory(request.param)
