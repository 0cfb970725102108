"""The page, served; and a browser that looks at it."""

from __future__ import annotations

import http.client
import json
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stamp_data.annotate.images import Images
from stamp_data.annotate.server import open_server
from stamp_data.annotate.store import Store, load_document
from stamp_schemas.annotated import AnnotatedImage


class Served:
    """A server in a thread. root: pictures; what is said of them lies in `annotations` within."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.folder = root / "annotations"
        self.server = open_server(Images(root, (self.folder,)), Store(self.folder, "Ada"), **options)
        self.address = self.server.address
        self._thread = threading.Thread(target=self.server.run, daemon=True)
        self._thread.start()

    def ask(self, place: str, value: Any = None, **headers: str) -> tuple[int, Any]:
        """(status, answer) of a GET, or of a POST of a value as JSON."""
        there = urlsplit(self.address)
        connection = http.client.HTTPConnection("127.0.0.1", there.port, timeout=10)
        data = None if value is None else value if isinstance(value, bytes) else json.dumps(value).encode()
        connection.request("GET" if data is None else "POST", there.path + place, data, headers)
        answer = connection.getresponse()
        held = answer.read()
        connection.close()
        return answer.status, json.loads(held) if "json" in answer.headers.get("content-type", "") else held

    def document(self, name: str = "a.png") -> AnnotatedImage:
        return load_document(self.folder / f"{name}.json")

    def close(self) -> None:
        self.server.stop()
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()


class Watched:
    """A page that remembers every complaint and every request."""

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

    def open(self) -> None:
        self.page.goto(self.address)
        self.page.wait_for_selector("body[data-ready]")

    def wait(self, condition: str) -> None:
        """Until a JavaScript condition holds. (Playwright's own waiting evaluates strings, which the policy forbids.)"""
        deadline = time.monotonic() + 20
        while not self.page.evaluate(condition):
            assert time.monotonic() < deadline, f"still not: {condition}"
            self.page.wait_for_timeout(15)

    def saved(self) -> None:
        self.wait("document.querySelector('#state').textContent === 'saved'")

    def keys(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def say(self, text: str) -> None:
        """A new phrase."""
        self.keys("n")
        self.page.keyboard.insert_text(text)
        self.keys("Enter")

    def pen(self, *points: tuple[float, float], button: str = "left") -> None:
        """Pull the mouse along points, in pixels of the picture."""
        frame = self.page.locator("#stage").bounding_box()
        view = self.page.evaluate("({x: annotate.stage.x, y: annotate.stage.y, scale: annotate.stage.scale})")
        places = [
            (frame["x"] + view["x"] + x * view["scale"], frame["y"] + view["y"] + y * view["scale"]) for x, y in points
        ]
        self.page.mouse.move(*places[0])
        self.page.mouse.down(button=button)
        for place in places[1:]:
            self.page.mouse.move(*place)
        self.page.mouse.up(button=button)

    def close(self) -> None:
        self.page.close()
        assert self.complaints == []
        assert all(url.startswith((self.address, "data:")) for url in self.requests)
