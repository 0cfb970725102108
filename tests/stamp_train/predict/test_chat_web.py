"""The page's server: who may ask, what it answers, and how answers of several pages get along."""

from __future__ import annotations

import io
import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from stamp_schemas import StampError
from stamp_train.backbones.presets import build_preset
from stamp_train.generation.generate import StampGenerator
from stamp_train.methods.embedding.settings import EmbeddingSettings
from stamp_train.predict import Segmenter
from stamp_train.predict.chat.conversations import MOST_HELD
from stamp_train.predict.chat.server import FILES, MOST_ASKED, MOST_UPLOADED, open_server

from ..eval.made_sets import save_lively
from .chatting import Served, events, scene, tiny_segmenter

HOT = {"temperature": 1.5, "seed": 3}
LONG = 4000  # tokens: longer than any test waits


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    running = Served(max_new_tokens=3)
    yield running
    running.close()


@pytest.fixture
def lengthy() -> Iterator[Served]:
    """Answers that nobody waits for."""
    running = Served(max_new_tokens=LONG)
    yield running
    running.close()


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def test_the_page_loads_nothing_from_elsewhere(served: Served) -> None:
    response = served.request("")
    body = response.read().decode()
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    assert "http" not in body
    assert "<script>" not in body


def test_every_file_of_the_page_is_served_and_no_other(served: Served) -> None:
    assert {"app.js", "chat.css", "page.css", "dom.js"} <= FILES.names.keys()
    for name in FILES.names:
        assert served.status(name) == 200
    for name in ("__init__.py", "index.html", "shell.html", "../server.py", "page/app.js", "api/", "api/say"):
        assert served.status(name) == 404


def test_nothing_without_the_token(served: Served) -> None:
    for path in ("/", "/x/", "//", f"{served.path[:-2]}/", f"/{'a' * len(served.path.strip('/'))}/"):
        assert served.status(path) == 404
        assert served.status(f"{path}api/open", "POST", body=b"") == 404
    address = open_server(served.conversations).address
    assert urlsplit(address).path != served.path
    assert len(urlsplit(address).path) > 30


def test_only_the_loopback_name_and_our_own_page_are_heard(served: Served) -> None:
    def status(**headers: str) -> int:
        return served.status("api/open", "POST", body=b"", headers=headers)

    assert status(Host="example.org") == 421
    assert status(Host=f"example.org:{served.port}") == 421
    assert status(Host=f"localhost:{served.port}") == 200
    assert status(Origin="http://example.org") == 403
    assert status(Origin="null") == 403
    assert status(Origin=f"http://127.0.0.1:{served.port}") == 200
    assert {served.status("", method) for method in ("PUT", "DELETE", "OPTIONS", "PATCH")} == {501}


def test_a_conversation_is_what_the_segmenter_says(served: Served) -> None:
    chat = served.open()
    assert chat["image"] == {"name": "scene.png", "width": 112, "height": 84}
    assert (chat["model"], chat["rounds"]) == ("tiny", [])
    *words, last = events(served.say(chat["id"], "What is it?"))
    expected = tiny_segmenter().chat(scene(), max_new_tokens=3)
    first = expected.say("What is it?")
    assert "".join(event["text"] for event in words) == first.text == last["state"]["rounds"][0]["answer"]
    second = expected.say("Where?", begin="<|seg|>")
    round_two = served.answer(chat["id"], "Where?", force_mask=True)
    assert [piece for piece in round_two["pieces"] if isinstance(piece, int)] == list(range(len(second.masks)))
    assert [mask["area"] for mask in round_two["masks"]] == pytest.approx([mask.mean() for mask in second.masks])
    assert all(mask["path"].startswith("M") for mask in round_two["masks"])
    assert len({mask["colour"] for mask in round_two["masks"]}) > 1
    assert served.json(f"api/state?chat={chat['id']}")["rounds"][1] == round_two


def test_saved_masks_are_the_segmenters(served: Served) -> None:
    chat = served.open()["id"]
    served.answer(chat, "the circle", force_mask=True)
    response = served.request(f"api/save?chat={chat}")
    saved = json.loads(response.read())
    assert response.headers["Content-Disposition"].startswith("attachment")
    expected = tiny_segmenter().chat(scene(), max_new_tokens=3).say("the circle", begin="<|seg|>")
    (row,) = saved["rounds"]
    assert (row["prompt"], row["content"], row["finish"]) == ("the circle", expected.content, expected.finish)
    masks = [coco_mask.decode({"size": rle["size"], "counts": rle["counts"].encode()}) for rle in row["masks"]]
    np.testing.assert_array_equal(np.array(masks, bool), np.array(expected.masks))


def test_undo(served: Served) -> None:
    chat = served.open()["id"]
    first = served.answer(chat, "one")
    served.answer(chat, "two")
    assert [one["question"] for one in served.json(f"api/undo?chat={chat}", "POST", b"")["rounds"]] == ["one"]
    assert served.answer(chat, "one")["question"] == "one"
    for _ in range(3):  # the last one has nothing to take back
        rounds = served.json(f"api/undo?chat={chat}", "POST", b"")["rounds"]
    assert rounds == []
    assert served.answer(chat, "one")["answer"] == first["answer"]


def test_another_picture_is_turned_upright_and_nothing_of_the_file_comes_back(served: Served) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "secret"
    chat = served.json("api/open?name=%3Cb%3E.jpg", "POST", encoded(scene(), "JPEG", exif=exif))
    assert chat["image"] == {"name": "<b>.jpg", "width": 84, "height": 112}
    response = served.request(f"api/picture?chat={chat['id']}")
    data = response.read()
    assert response.headers["Content-Type"] == "image/jpeg"
    assert Image.open(io.BytesIO(data)).size == (84, 112)
    assert b"secret" not in data


def png_of(width: int, height: int) -> bytes:
    """A PNG that says it has this size."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    parts = (struct.pack(">I", len(d)) + kind + d + struct.pack(">I", zlib.crc32(kind + d)) for kind, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no picture", "not a JPEG"),
        (encoded(scene())[:-40], "the file"),
        (png_of(12_000, 12_000), "pixels; at most"),
        (encoded(Image.new("RGB", (3000, 4))), "aspect ratio"),
        (encoded(scene(), "JPEG2000"), "not a JPEG"),
    ],
    ids=["text", "cut", "bomb", "thin", "jp2"],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bad_picture_is_one_line(data: bytes, reason: str, served: Served) -> None:
    response = served.request("api/open", "POST", data)
    assert response.status == 422
    assert reason in json.loads(response.read())["error"]


def test_bodies_are_bounded(served: Served) -> None:
    chat = served.open()["id"]
    assert served.status("api/open", "POST", body=b"\0" * (MOST_UPLOADED + 1)) == 413
    assert served.status(f"api/say?chat={chat}", "POST", body=b"\0" * (MOST_ASKED + 1)) == 413
    assert served.status("api/open", "POST", headers={"Transfer-Encoding": "chunked"}) == 411
    assert served.status("api/open", "POST", headers={"Content-Length": "-1"}) == 400
    for body in (b"", b"{", b'{"text": 3}', b"[]", b"\xff"):
        assert served.status(f"api/say?chat={chat}", "POST", body=body) == 400
    assert served.status(f"api/say?chat={chat}", "POST", body=b'{"text": " \\n"}') == 422
    assert served.status("api/state?" + "&".join(f"a{i}=1" for i in range(40))) == 400
    assert served.json(f"api/state?chat={chat}")["rounds"] == []


def test_conversations_that_are_gone(served: Served) -> None:
    first = served.open()["id"]
    others = [served.open()["id"] for _ in range(MOST_HELD)]
    assert served.status(f"api/state?chat={first}") == 410
    assert served.status(f"api/state?chat={others[0]}") == 200
    served.open()  # the one that was just used is no longer the oldest
    assert served.status(f"api/state?chat={others[0]}") == 200
    assert served.status(f"api/state?chat={others[1]}") == 410
    assert served.say("", "x").status == 410


def test_an_answer_can_be_stopped_and_the_conversation_goes_on(lengthy: Served) -> None:
    chat = lengthy.open()["id"]
    heard = events(lengthy.say(chat, "one"))
    said = next(heard)["text"]
    assert lengthy.say(chat, "two").status == 409
    assert lengthy.status(f"api/undo?chat={chat}", "POST", body=b"") == 409
    assert lengthy.status(f"api/stop?chat={chat}", "POST", body=b"") == 200
    *words, last = heard
    assert len(words) < LONG / 2
    (stopped,) = last["state"]["rounds"]
    assert (stopped["finish"], stopped["masks"]) == ("stopped", [])
    assert stopped["answer"] == said + "".join(event["text"] for event in words)
    assert lengthy.json(f"api/undo?chat={chat}", "POST", b"")["rounds"] == []
    assert next(events(lengthy.say(chat, "one")))["text"] == said


def test_a_page_that_goes_away_stops_its_answer(lengthy: Served) -> None:
    chat = lengthy.open()["id"]
    response = lengthy.say(chat, "one")
    next(events(response))
    response.close()
    deadline = time.monotonic() + 30
    while not (rounds := lengthy.json(f"api/save?chat={chat}")["rounds"]):
        assert time.monotonic() < deadline, "it is still answering"
        time.sleep(0.02)
    assert rounds[0]["finish"] == "stopped"


def test_a_page_that_is_reloaded_stops_its_answer(lengthy: Served) -> None:
    chat = lengthy.open()["id"]
    heard = events(lengthy.say(chat, "one"))
    next(heard)
    assert lengthy.json(f"api/state?chat={chat}")["rounds"][0]["finish"] == "stopped"


def test_answers_take_turns_at_the_model(lengthy: Served) -> None:
    answers = [events(lengthy.say(lengthy.open()["id"], "one")) for _ in range(2)]
    first, second = (next(answer) for answer in answers)  # neither has ended, or it would be thousands of tokens later
    assert first == second
    assert [next(answer) for answer in answers] == [next(answer) for answer in answers]


def test_answers_at_the_same_time_are_those_alone(served: Served) -> None:
    questions = ["one", "two", "three"]
    alone = [tiny_segmenter().chat(scene(), max_new_tokens=3).say(text, "<|seg|>").content for text in questions]
    chats = [served.open()["id"] for _ in questions]
    found: dict[str, str] = {}

    def ask(chat: str, text: str) -> None:
        found[text] = served.answer(chat, text, force_mask=True)

    threads = [threading.Thread(target=ask, args=pair) for pair in zip(chats, questions, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    saved = [served.json(f"api/save?chat={chat}")["rounds"][0]["content"] for chat in chats]
    assert saved == alone


def test_a_fault_of_the_model_is_a_line_of_the_answer(served: Served) -> None:
    chat = served.open()["id"]
    (line,) = events(served.say(chat, "x " * 60_000))
    assert line["kind"] == "fault"
    assert "positions" in line["text"] or "range" in line["text"]
    assert served.answer(chat, "short")["question"] == "short"


def test_a_temperature_may_change_in_a_conversation(tmp_path: Path) -> None:
    segmenter = Segmenter.from_pretrained(save_lively(tmp_path / "lively"), "cpu")
    served = Served(segmenter, max_new_tokens=12)
    alone = [segmenter.chat(scene(), max_new_tokens=12, **options).say("one").content for options in ({}, HOT)]
    chat, found = served.open()["id"], []
    for changes in ({}, HOT, {"temperature": 0}):
        body = json.dumps({"text": "one", **changes}).encode()
        *_, last = events(served.request(f"api/say?chat={chat}", "POST", body))
        found.append(served.json(f"api/save?chat={chat}")["rounds"][0]["content"])
        assert last["state"]["temperature"] == changes.get("temperature", 0)
        served.json(f"api/undo?chat={chat}", "POST", b"")
    assert found == [*alone, alone[0]] and alone[0] != alone[1]
    for bad in (-1, 3, "hot"):
        body = json.dumps({"text": "one", "temperature": bad}).encode()
        assert served.status(f"api/say?chat={chat}", "POST", body=body) == 400
    served.close()


def test_a_port_in_use_is_one_line(served: Served) -> None:
    with pytest.raises(StampError, match="cannot be opened"):
        open_server(served.conversations, served.port or 0)


def test_masks_that_are_there_at_once_are_sent_at_once() -> None:
    """Those of an embedding; the state at the end has the same."""
    served = Served(
        Segmenter(StampGenerator(*build_preset("tiny", method=EmbeddingSettings(width=16)))), max_new_tokens=4
    )
    try:
        chat, before = served.open()["id"], 0
        for _ in range(2):
            said = list(events(served.say(chat, "the ball", force_mask=True)))
            kinds = [event["kind"] for event in said]
            assert kinds.index("seg") < kinds.index("mask") < kinds.index("state")
            early = [event["mask"] for event in said if event["kind"] == "mask"]
            assert early == said[-1]["state"]["rounds"][-1]["masks"]
            assert early[0]["number"] == before + 1
            before += len(early)
    finally:
        served.close()
