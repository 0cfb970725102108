"""The server: who may ask, what it answers, and that nothing else is reachable."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from stamp_data.inspect.selection import DEFAULT, Selection
from stamp_data.inspect.server import Gallery, open_server
from stamp_schemas import StampError

from ...browsing import Running
from ..making import ListSource, build, pictured

Answer = tuple[int, dict[str, str], bytes]


class Served(Running):
    """A running server and a way to ask it."""

    def __init__(self, paths: list[Path], selection: Selection = DEFAULT) -> None:
        self.gallery = Gallery(paths, selection)
        self.gallery.index.start()
        super().__init__(open_server(self.gallery))
        while not self.gallery.index.done:
            time.sleep(0.01)

    def ask(self, path: str, method: str = "GET", host: str | None = None, **headers: str) -> Answer:
        answer = self.request(path, method, headers={**headers, **({"Host": host} if host else {})})
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def json(self, query: str) -> Any:
        status, _, body = self.ask(f"{self.path}{query}")
        assert status == 200, body
        return json.loads(body)


@pytest.fixture(scope="module")
def served(zoo_set: Path) -> Iterator[Served]:
    running = Served([zoo_set])
    yield running
    running.close()


def test_the_page_has_its_policy_and_no_records(served: Served) -> None:
    status, headers, body = served.ask(served.path)
    assert status == 200
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert b'"records":[]' in body


def test_strangers_are_turned_away(served: Served) -> None:
    assert served.ask("/")[0] == 404 and b"the one that the command printed last" in served.ask("/")[2]
    assert served.ask(f"/{'x' * 32}/api/records")[0] == 404
    assert served.ask(served.path[:-2] + "/")[0] == 404
    assert served.ask(served.path, host="example.org")[0] == 421
    assert served.ask(served.path, host=f"example.org:{served.port}")[0] == 421
    assert served.ask(served.path, host=f"localhost:{served.port}")[0] == 200
    assert served.ask(served.path, Origin="http://example.org")[0] == 403
    assert served.ask(served.path, Origin="null")[0] == 403
    assert served.ask(served.path, Origin=f"http://127.0.0.1:{served.port}")[0] == 200
    assert served.ask(served.path, "POST")[0] == 404
    for method in ("PUT", "DELETE", "OPTIONS"):
        assert served.ask(served.path, method)[0] == 501


@pytest.mark.parametrize(
    "path",
    [
        "../manifest.json",
        "shard-000000.tar",
        "api/",
        "api/records/../../x",
        "api/picture?key=../../etc/passwd",
        "api/record?key=%00",
    ],
)
def test_nothing_else_is_there(path: str, served: Served) -> None:
    assert served.ask(served.path + path)[0] == 404


@pytest.mark.parametrize("query", ["cursor=x", "count=1e9", "cursor=1&" + "&".join(f"a{i}=1" for i in range(40))])
def test_bad_queries_are_refused(query: str, served: Served) -> None:
    assert served.ask(f"{served.path}api/records?{query}")[0] == 400


def test_pages_follow_each_other(served: Served) -> None:
    keys, cursor = [], 0
    while cursor is not None:
        page = served.json(f"api/records?cursor={cursor}&count=4")
        assert (page["matched"], page["total"], page["scanned"]) == (15, 15, 15)
        keys += [record["key"] for record in page["records"]]
        cursor = page["next"]
    assert len(keys) == len(set(keys)) == 15
    assert served.json("api/records?cursor=-5&count=-1")["records"] == []
    assert served.json("api/records?cursor=99&count=9999")["records"] == []


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("q=number+3", ["r03"]),
        ("q=ANT+thing", ["tiny-thing"]),
        ("split=val", ["v00", "v01"]),
        ("kind=chat", ["talk"]),
        ("flag=STP-W006", ["v00"]),
        ("source=none", []),
        ("split=val&sort=-area", ["v01", "v00"]),
    ],
)
def test_filters(query: str, keys: list[str], served: Served) -> None:
    assert [record["key"] for record in served.json(f"api/records?{query}")["records"]] == keys


def test_flagged_only_and_sorts(served: Served) -> None:
    flagged = served.json("api/records?flagged=1")
    assert flagged["matched"] == sum(bool(record["flags"]) for record in served.json("api/records?count=99")["records"])
    for sort in ("area", "-area", "iou", "-total", "-dialogues", "-flags"):
        assert served.json(f"api/records?sort={sort}&count=99")["matched"] == 15


def test_pictures_are_the_original_bytes(served: Served) -> None:
    record = served.json("api/record?set=tiny/train&key=r05")["record"]
    status, headers, body = served.ask(served.path + record["picture"])
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    assert body.startswith(b"\xff\xd8")
    assert served.ask(served.path + "api/picture?set=tiny/val&key=r05")[0] == 404


def test_where_narrows_all_that_is_served(zoo_set: Path) -> None:
    running = Served([zoo_set], Selection(where="kind == 'no_target'"))
    try:
        page = running.json("api/records?count=99")
        assert page["matched"] == 10
        assert all(len(record["dialogues"]) == 1 for record in page["records"])
    finally:
        running.close()


def test_a_port_in_use_is_one_line(served: Served) -> None:
    with pytest.raises(StampError, match="cannot be opened"):
        open_server(served.gallery, served.port or 0)


def test_tokens_differ(served: Served) -> None:
    address = open_server(served.gallery).address
    assert urlsplit(address).path != served.path
    assert len(urlsplit(address).path) > 30


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_pictures_that_browsers_would_not_show_so_are_sent_as_png(mode: str, tmp_path: Path) -> None:
    suffix = {"RGB": "tif", "RGBA": "png"}[mode]
    annotation = pictured(tmp_path / "raw", 1, suffix=suffix)
    place = tmp_path / f"raw/images/0001.{suffix}"
    with Image.open(place) as made:
        made.convert(mode).save(place)
    folder = build(ListSource(tmp_path / "raw", [annotation]), tmp_path / "out")
    running = Served([folder])
    try:
        (record,) = running.json("api/records")["records"]
        status, headers, body = running.ask(running.path + record["picture"])
    finally:
        running.close()
    assert (status, headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(body)) as sent, Image.open(place) as there:
        assert (sent.format, sent.mode) == ("PNG", "RGB") and sent.tobytes() == there.convert("RGB").tobytes()
