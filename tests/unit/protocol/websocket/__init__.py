"""Tests of smoothserve.protocol.websocket."""
