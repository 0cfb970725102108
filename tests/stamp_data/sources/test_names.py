"""Files under names that programs forget: bytes that are no text, suffixes in capitals, folders behind links."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from stamp_data.sources.finding import walk
from tests.stamp_data import raw

from .raw import Json, read, reasons, shape, talk, two_images, write_json

BAD = os.fsdecode(b"\xb1\xff")


def labelme(folder: Path, stem: str, suffix: str = ".json") -> Path:
    (folder / f"{stem}.jpg").write_bytes(raw.picture())
    content: Json = {"shapes": [shape("cat")], "imagePath": f"{stem}.jpg"}
    return write_json(folder / f"{stem}{suffix}", content)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder whose name is no text; skips where the file system takes no such name."""
    folder = tmp_path / BAD
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("names are texts here")
    return folder


def test_labelme_pictures_under_names_that_are_no_text_are_rows(odd: Path) -> None:
    labelme(odd, "a")
    labelme(odd.parent, BAD)
    labelme(odd.parent, "b")
    records, rejects = read("labelme", odd.parent)
    assert [record.id for record in records] == ["b"]
    assert sorted(row.file for row in rejects) == ["\\udcb1\\udcff.json", "\\udcb1\\udcff/a.json"]
    assert sorted(row.reason for row in rejects) == ["path-escape", "unreadable-file"], "JSON cannot spell such a name"


@pytest.mark.parametrize("name", ["labelme", "coco", "llava"])
def test_annotation_files_under_names_that_are_no_text_are_read(odd: Path, tmp_path: Path, name: str) -> None:
    labelme(tmp_path, "b")
    written = {
        "labelme": {"shapes": [shape("cat")], "imagePath": "b.jpg"},
        "coco": two_images(),
        "llava": [{"conversations": talk("a", "b")}],
    }
    file = write_json((tmp_path if name == "labelme" else odd) / f"{BAD}.json", written[name])
    records, rejects = read(name, tmp_path if name == "labelme" else file)
    assert len(records) == {"labelme": 2, "coco": 2, "llava": 1}[name] and not rejects
    assert b"udcb1" in msgspec.json.encode(records), "which is how a plan is written"


def test_reasonseg_files_under_names_that_are_no_text_are_rows(tmp_path: Path, odd: Path) -> None:
    content = {
        "text": ["cat"],
        "is_sentence": False,
        "shapes": [{"label": "target", "points": [[0, 0], [9, 0], [9, 9]]}],
    }
    for stem in (BAD, "a"):
        write_json(tmp_path / f"reason_seg/ReasonSeg/val/{stem}.json", content)
    write_json(tmp_path / "reason_seg/ReasonSeg/val/B.JSON", content)
    records, rejects = read("reason_seg", odd.parent, "val")
    assert [record.id for record in records] == ["B", "a"] and reasons(rejects) == [("path-escape", 0)]


def test_a_suffix_in_capitals_is_one(tmp_path: Path) -> None:
    labelme(tmp_path, "a", ".JSON")
    (record,), rejects = read("labelme", tmp_path)
    assert record.id == "a" and record.image is not None and record.image.path == "a.jpg" and not rejects


def test_a_folder_behind_a_link_is_told_of(tmp_path: Path) -> None:
    root, away = tmp_path / "root", tmp_path / "away"
    root.mkdir()
    away.mkdir()
    labelme(away, "a")
    (root / "cam").symlink_to(away)
    (root / "twice").symlink_to(root)
    links: list[str] = []
    assert list(walk(root, links=links)) == [("", [])] and links == ["cam"]
    labelme(root, "b")
    records, rejects = read("labelme", root)
    assert [record.id for record in records] == ["b"]
    assert [(row.file, row.reason) for row in rejects] == [("cam", "folder-passed-over")]
    assert "--follow-links" in rejects[0].detail


def test_folders_with_line_breaks_in_their_names_are_read(tmp_path: Path) -> None:
    (tmp_path / "cam\n1").mkdir()
    labelme(tmp_path / "cam\n1", "a")
    (done,) = raw.build(tmp_path, tmp_path / "out", "labelme")
    assert done.manifest.totals.records == 1
