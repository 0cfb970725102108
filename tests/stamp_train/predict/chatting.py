"""A tiny model to talk with, pictures to talk about, a terminal and a running page server."""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from PIL import Image, ImageDraw
from rich.console import Console

from stamp_train.backbones.presets import build_preset
from stamp_train.generation.generate import StampGenerator
from stamp_train.predict import Segmenter
from stamp_train.predict.chat.conversations import Conversations
from stamp_train.predict.chat.server import open_server
from stamp_train.predict.chat.terminal import TerminalChat

from ...browsing import Running


@cache
def tiny_segmenter() -> Segmenter:
    return Segmenter(StampGenerator(*build_preset("tiny")))


def scene(width: int = 112, height: int = 84) -> Image.Image:
    picture = Image.new("RGB", (width, height), (90, 140, 90))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((10, 15, 50, 60), fill=(210, 60, 40))
    draw.rectangle((70, 30, 100, 75), fill=(40, 70, 200))
    return picture


def save_checkpoint(folder: Path) -> Path:
    generator = tiny_segmenter().generator
    generator.model.save_pretrained(folder)
    generator.processor.save_pretrained(folder)
    return folder


class Spoken:
    """A conversation within this process, and what it printed and said."""

    def __init__(self, tmp_path: Path, picture: Path, *, way: str = "off", tokens: int = 1, **console: object) -> None:
        self.out, self.printed, self.said = tmp_path / "out", io.StringIO(), list[str]()
        self.talk = TerminalChat(
            lambda path: tiny_segmenter().chat(path, max_new_tokens=tokens),
            picture,
            self.out,
            "tiny",
            Console(file=self.printed, width=60, highlight=False, **console),  # type: ignore[arg-type]
            self.said.append,
            way,  # type: ignore[arg-type]
        )

    def hear(self, *lines: str) -> str:
        """What is printed after these lines."""
        before = len(self.printed.getvalue())
        self.talk.run(iter(lines))
        return self.printed.getvalue()[before:]


class Served(Running):
    """A page server of a model, the tiny one if none is given, and a way to ask it. options: of generation; others: what opens
    further models.
    """

    def __init__(
        self,
        segmenter: Segmenter | None = None,
        others: Mapping[str, Callable[[], Segmenter]] | None = None,
        **options: Any,
    ) -> None:
        picture = scene(), "scene.png"
        self.conversations = Conversations(segmenter or tiny_segmenter(), "tiny", picture, options, others)
        super().__init__(open_server(self.conversations))

    def status(self, place: str, method: str = "GET", **options: Any) -> int:
        response = self.request(place, method, **options)
        response.read()
        return response.status

    def json(self, place: str, method: str = "GET", body: bytes | None = None) -> Any:
        response = self.request(place, method, body)
        data = response.read()
        assert response.status == 200, data
        return json.loads(data)

    def open(self, picture: bytes = b"") -> Any:
        return self.json("api/open", "POST", picture)

    def say(self, chat: str, text: str, force_mask: bool = False) -> http.client.HTTPResponse:
        body = json.dumps({"text": text, "force_mask": force_mask}).encode()
        return self.request(f"api/say?{urlencode({'chat': chat})}", "POST", body)

    def answer(self, chat: str, text: str, force_mask: bool = False) -> Any:
        """The last round of the conversation after a question."""
        *_, last = events(self.say(chat, text, force_mask))
        return last["state"]["rounds"][-1]


def events(response: http.client.HTTPResponse) -> Iterator[Any]:
    """The lines of an answer as they come."""
    assert response.status == 200, response.read()
    for line in iter(response.readline, b""):
        yield json.loads(line)
