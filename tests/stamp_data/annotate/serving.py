"""The page, served; and a browser that looks at it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stamp_data.annotate.images import Images
from stamp_data.annotate.server import open_server
from stamp_data.annotate.store import Store, load_document
from stamp_schemas.annotated import AnnotatedImage

from ...browsing import Running
from ...browsing import Watched as WatchedPage


class Served(Running):
    """A server in a thread. root: pictures; what is said of them lies in `annotations` within."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.folder = root / "annotations"
        super().__init__(open_server(Images(root, (self.folder,)), Store(self.folder, "Ada"), **options))

    def ask(self, place: str, value: Any = None, **headers: str) -> tuple[int, Any]:
        """(status, answer) of a GET, or of a POST of a value as JSON."""
        data = None if value is None else value if isinstance(value, bytes) else json.dumps(value).encode()
        answer = self.request(place, "GET" if data is None else "POST", data, headers)
        held = answer.read()
        return answer.status, json.loads(held) if "json" in answer.headers.get("content-type", "") else held

    def document(self, name: str = "a.png") -> AnnotatedImage:
        return load_document(self.folder / f"{name}.json")


class Watched(WatchedPage):
    """A page of annotations."""

    def saved(self) -> None:
        self.wait("document.querySelector('#state').textContent === 'saved'")

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
