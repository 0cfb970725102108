"""Records that are tagged on the page: the list that comes of it, and what builds and annotations make of the list."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from stamp_data.annotate.begin import begin_from
from stamp_data.annotate.images import Images
from stamp_data.annotate.store import Store
from stamp_data.inspect.gallery import write_gallery
from stamp_data.inspect.server import Gallery, open_server
from stamp_data.shards.reader import ShardSet
from stamp_data.tags import TagList, read_tags
from stamp_schemas import StampError
from stamp_schemas.tags import TaggedRecord

from ...browsing import Running, Watched
from ...conftest import Command
from .scenes import Scene, write_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scenes = [Scene(f"r{i}", seed=i).target("a", (5, 5, 30, 40)).says(f"it {i}", [0]).made() for i in range(4)]
    return write_set(tmp_path_factory.mktemp("tags"), scenes)


def tag(*names: str, **more: Any) -> list[TaggedRecord]:
    return [TaggedRecord(set="tiny/train", record=name, tags=["bad"], **more) for name in names]


@pytest.mark.browser
def test_the_server_keeps_what_is_tagged(chromium: Any, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "tags.jsonl"
    gallery = Gallery([folder], tags=path)
    gallery.index.start()
    served = Running(open_server(gallery))
    watched = Watched(chromium, served.address)
    watched.wait("document.querySelectorAll('.card').length === 4")
    watched.keys("j", "j", "x")
    watched.wait("document.querySelector('#save-tags').textContent === 'List (1)'")
    assert [(row.record, row.tags, row.place) for row in read_tags(path)] == [("r1", ["flag"], str(folder))]
    watched.keys("Enter")
    watched.page.fill("#tags", "flag, wrong <b>mask</b>")
    watched.page.press("#tags", "Enter")
    watched.wait("document.querySelectorAll('#grid .tag').length === 2")
    assert read_tags(path)[0].tags == ["flag", "wrong <b>mask</b>"]
    watched.keys("j", "x", "Escape")
    watched.wait("document.querySelector('#save-tags').textContent === 'List (2)'")
    watched.open("#tag=wrong+%3Cb%3Emask%3C%2Fb%3E")
    watched.wait("document.querySelectorAll('.card').length === 1")
    watched.keys("j", "x")
    watched.wait("document.querySelectorAll('#grid .tag').length === 1")
    assert {row.record: row.tags for row in read_tags(path)} == {"r1": ["wrong <b>mask</b>"], "r2": ["flag"]}
    for sent in (
        b'{"set": "tiny/train", "record": "none", "tags": ["a"]}',
        b'{"set": "tiny/train", "record": "r1", "tags": [","]}',
    ):
        assert served.request("api/tag", "POST", sent).status in (400, 422)
    assert len(read_tags(path)) == 2
    watched.close()
    served.close()


@pytest.mark.browser
def test_a_page_from_disk_gives_the_list_away(chromium: Any, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "known.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in tag("r3")))
    write_gallery([folder], tmp_path / "gallery.html", tags=tmp_path / "known.jsonl")
    watched = Watched(chromium, (tmp_path / "gallery.html").as_uri())
    watched.keys("j", "x")
    watched.wait("document.querySelectorAll('#grid .tag').length === 2")
    watched.open()
    with watched.page.expect_download() as download:
        watched.page.click("#save-tags")
    path = tmp_path / "saved.jsonl"
    path.write_bytes(Path(download.value.path()).read_bytes())
    assert {row.record: row.tags for row in read_tags(path)} == {"r3": ["bad"], "r0": ["flag"]}
    watched.page.select_option("#filter-tag", "bad")
    watched.wait("document.querySelectorAll('.card').length === 1")
    watched.close()


def test_annotate_begins_with_the_list_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with ShardSet(folder) as records:
        for row in records.rows:
            (tmp_path / "photos" / f"{row.key}.jpg").write_bytes(records.member(row, "image"))
    Image.new("RGB", (20, 20)).save(tmp_path / "photos" / "other.png")
    path = tmp_path / "tags.jsonl"
    tags = TagList(path)
    tags.put("tiny/train", "r2", ["flag"], str(folder))
    images, store = Images(tmp_path / "photos"), Store(tmp_path / "out", "Ada")
    told = begin_from([str(path)], images, store)
    assert (told.known, told.begun, told.listed) == (1, 1, {"r2.jpg"})
    images.only(told.listed)
    assert [phrase.text for phrase in store.open(images.file(0)).document.phrases] == ["it 2"]


def test_a_build_leaves_out_what_is_listed(stamp_data: Command, tmp_path: Path) -> None:
    stamp_data("synth", tmp_path / "raw", "--images", 40, check=True)
    call = ("build", "refcoco", "--root", tmp_path / "raw", "--split", "train", "--out")
    assert stamp_data(*call, tmp_path / "all").returncode == 0
    keys = stamp_data("inspect", tmp_path / "all", "-q").stdout.split()
    path = tmp_path / "tags.jsonl"
    rows = [TaggedRecord(set="refcoco-unc/train", record=key, tags=["bad", "blurred"]) for key in keys[:3]]
    path.write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    done = stamp_data(*call, tmp_path / "some", "--exclude", path)
    assert done.returncode == 0, done.stderr
    assert stamp_data("inspect", tmp_path / "some", "-q").stdout.split() == keys[3:]
    (folder,) = (tmp_path / "some").rglob("manifest.json")
    said = [json.loads(line) for line in (folder.parent / "rejects.jsonl").read_text().splitlines()]
    assert [(row["record"], row["reason"], row["detail"]) for row in said] == [
        (key, "excluded", "bad, blurred") for key in sorted(keys[:3])
    ]
    other = stamp_data(*call, tmp_path / "some")
    assert other.returncode == 1 and "tags.jsonl" in other.stderr  # another build, which has to be asked for
    path.write_text("{}\n")
    bad = stamp_data(*call, tmp_path / "more", "--exclude", path)
    assert bad.returncode == 1 and "line 1 is no tagged record" in bad.stderr


def test_a_list_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "tags.jsonl"
    TagList(path).put("a", "b", ["c"], "d")
    before = path.read_bytes()
    path.write_bytes(before + b"{")
    with pytest.raises(StampError, match="line 2 is no tagged record"):
        TagList(path)
    path.write_bytes(before)
    again = TagList(path)
    again.put("a", "b", [], "")
    assert path.read_bytes() == b"" and again.rows() == []
