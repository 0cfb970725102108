"""Pages that are served from a thread, and a browser that looks at one."""

from __future__ import annotations

import http.client
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from stamp_data.web.server import LoopbackServer

SMALL = """(root) => [...document.querySelectorAll("button, a, input, select, summary, li[class]")]
  .filter((node) => node.closest(root) && node.checkVisibility() && !node.matches(".skip"))
  .map((node) => [node.outerHTML.slice(0, 90), node.getBoundingClientRect()])
  .filter(([, {width, height}]) => width < 24 || height < 24).map(([text, {width, height}]) => `${text} ${width}×${height}`)"""
"""What is hard to hit within an element of a selector: less than 24 pixels wide or high."""

SETTLED = """Promise.race([
  new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))),
  new Promise((done) => setTimeout(done, 200)), // a page behind another is not drawn
])"""


class Running:
    """A page's server in a thread."""

    def __init__(self, server: LoopbackServer) -> None:
        self.server, self.address = server, server.address
        self.port, self.path = urlsplit(self.address).port, urlsplit(self.address).path
        self._thread = threading.Thread(target=server.run, daemon=True)
        self._thread.start()

    def request(
        self, place: str, method: str = "GET", body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        """The response, its body unread; place: a path beginning with /, or what follows the token."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        given = {"Host": f"127.0.0.1:{self.port}", **(headers or {})}
        connection.request(method, place if place.startswith("/") else f"{self.path}{place}", body, given)
        return connection.getresponse()

    def close(self) -> None:
        self.server.stop()
        self._thread.join(timeout=20)
        assert not self._thread.is_alive()


class Watched:
    """A page that remembers every complaint and every request. options: of the browser's page."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        self.page = browser.new_page(**{"viewport": {"width": 1280, "height": 800}, **options})
        self.page.set_default_timeout(20_000)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda fault: self.complaints.append(str(fault)))
        self.page.on("dialog", self.on_dialog)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.address = address
        self.open()

    def on_dialog(self, dialog: Any) -> None:
        self.complaints.append(f"dialog: {dialog.type} {dialog.message}")
        dialog.accept()

    def open(self, fragment: str = "") -> None:
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}{fragment}")
        self.page.wait_for_selector("body[data-ready]")
        self.settle()

    def settle(self) -> None:
        """Until what was done has been heard and drawn: events follow keys, and texts are those of what has been drawn."""
        self.page.evaluate(SETTLED)

    def count(self, selector: str) -> int:
        return int(self.page.locator(selector).count())

    def wait(self, condition: str) -> None:
        """Until a JavaScript condition holds. (Playwright's own waiting evaluates strings, which the policy forbids.)"""
        deadline = time.monotonic() + 20
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, f"still not: {condition}"
            self.page.wait_for_timeout(15)

    def keys(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def close(self) -> None:
        """Close the page, on which nothing may have gone wrong, and which may have asked nobody but its own server."""
        self.page.close()
        assert self.complaints == []
        own = ("data:", "blob:", "about:", self.address)
        assert all(url.startswith(own) for url in self.requests), self.requests
