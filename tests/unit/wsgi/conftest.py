"""Tests over the wire run on both loops and both codecs, as those of the connection do."""

from tests.unit.connection.conftest import http, run

__all__ = ["http", "run"]
