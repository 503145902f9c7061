"""The chat of the documentation in a real browser: its page stays connected while the server's code is replaced."""

import json
from pathlib import Path

import pytest

from tests.process.browser import Browser, Page
from tests.process.directory import APPS, AppDirectory
from tests.process.fixtures import Serve
from tests.process.processes import wait_until

CHAT = APPS.parent.parent / "docs" / "how-to" / "chat.py"


def say(page: Page, text: str) -> None:
    """Type something and press the button."""
    page.evaluate(f"document.querySelector('#text').value = {json.dumps(text)}")
    page.evaluate("document.querySelector('button').click()")


@pytest.mark.full(only="3.13")
def test_the_chat_page_stays_connected_while_its_code_is_replaced_and_shows_the_new_version(
    tmp_path: Path, serve: Serve
) -> None:
    place = AppDirectory(tmp_path / "chat", "websocket_echo")
    source = CHAT.read_text()
    assert "VERSION = 1 " in source
    place.write("chat.py", source)
    server = serve(place, "--soak-interval", "0.05", app="chat:app")
    address = f"http://127.0.0.1:{server.port}/"
    with Browser(tmp_path / "profile") as browser, browser.open(address) as one, browser.open(address) as other:
        pages = (one, other)
        for page in pages:
            page.wait_text("#version", "1")
            page.evaluate("window.kept = 'not loaded again'")
        say(one, "hello")
        for page in pages:
            wait_last(page, "hello")
        for version in ("2", "3", "4"):
            place.write("chat.py", source.replace("VERSION = 1 ", f"VERSION = {version} "))
            server.reload()
            for page in pages:
                page.wait_text("#version", version)
            for page, text in ((one, f"one at {version}"), (other, f"other at {version}")):
                say(page, text)
                for reader in pages:
                    wait_last(reader, text)
        for page in pages:
            assert page.evaluate("window.kept") == "not loaded again"
            assert page.text("#opened") == "1", "the page has made one connection in all"
            assert page.evaluate("document.querySelectorAll('#said li').length") == 7
    assert server.log().count("2 WebSockets carried") == 3


def wait_last(page: Page, text: str) -> None:
    """Wait until the newest line of the chat is this one, whoever has said it."""
    wait_until(lambda: (page.text("#said li:last-child") or "").endswith(f": {text}"), 30, f"the chat says {text!r}")
