"""Where pictures lie, what they are, how they are turned, and what is said about them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stamp_data import rle as rles
from stamp_data.doctor import examine
from stamp_data.pixels import decode_picture
from stamp_data.shards.reader import Loaded

from ..raw import build, read_set
from .conftest import CASES
from .seeing import LEFT, RIGHT, Made, blocks, built, masks, records_of, refused

RED = (200, 30, 30)  # the left block's colour

PLACES = [
    ("cvat-images-default", "", "coco", "dog"),
    ("fiftyone-coco", "labels.json", "coco", "dog"),
    ("nfd-names", "", "coco", "block"),
    ("labelme-imagedata-only", "", "labelme", "red block"),
    ("labelme-tif", "", "labelme", "red block"),
    ("refcoco-coco-beside", "", "refcoco", "red block"),
]


@pytest.mark.parametrize(("case", "file", "dataset", "phrase"), PLACES)
def test_pictures_are_found_where_they_usually_lie(
    case: str, file: str, dataset: str, phrase: str, made: Made, tmp_path: Path
) -> None:
    found, rejects = built(made(case) / file, tmp_path / "out", dataset)
    assert list(found) == [phrase] and not rejects
    assert (found[phrase][0] == blocks(LEFT)).all()


def test_a_renamed_picture_is_the_one_beside_its_file_and_a_row_says_so(made: Made, tmp_path: Path) -> None:
    found, (row,) = built(made("labelme-renamed"), tmp_path / "out", "labelme")
    assert (found["red block"][0] == blocks(LEFT)).all()
    assert (row.reason, row.action, row.file) == ("picture-renamed", "cleaned", "a.json") and "a.jpg" in row.detail


def test_folders_below_count(made: Made, tmp_path: Path) -> None:
    records, rejects = records_of(made("labelme-subfolders"), tmp_path / "out", "labelme")
    assert {str(one.record.source.image_id) for one in records} == {"a", "cam1/b", "cam2/c"} and not rejects
    assert all((masks(one)["red block"][0] == blocks(LEFT)).all() for one in records)


def test_a_link_out_of_the_root_is_followed_if_it_is_meant(made: Made, tmp_path: Path) -> None:
    root = made("refcoco-symlink") / "playground"
    assert "--follow-links" in str(refused(root, tmp_path / "out", "refcoco"))
    (report,) = [one for one in examine(root).datasets if one.dataset == "refcoco"]
    told = [finding for split in report.splits for finding in split.findings]
    assert told and not any("download" in finding.remedy for finding in told)
    found, rejects = built(root, tmp_path / "again", "refcoco", follow_links=True)
    assert (found["red block"][0] == blocks(LEFT)).all() and not rejects


def test_four_points_are_an_area(made: Made, tmp_path: Path) -> None:
    found, rejects = built(made("xanylabeling-rotation"), tmp_path / "out", "labelme")
    turned = np.s_[40:90, 100:130]
    areas = {"red": LEFT, "blue": RIGHT, "turned": turned, "four": turned}
    assert found.keys() == areas.keys() and not rejects
    assert all((found[name][0] == blocks(area)).all() for name, area in areas.items())


def under_mask(loaded: Loaded) -> tuple[float, ...]:
    """Mean colour under the only mask, picture and mask as they are stored."""
    (target,) = loaded.record.targets
    assert loaded.image is not None and target.area == 3500
    pixels = np.asarray(decode_picture(loaded.image))
    return tuple(pixels[rles.decode(target.rle).astype(bool)].mean(axis=0))


@pytest.mark.parametrize(
    ("case", "dataset"),
    [("labelme-exif180", "labelme"), ("labelme-exif90", "labelme"), ("reasonseg-exif90", "reason_seg")],
)
def test_the_mask_of_a_turned_picture_lies_on_what_it_means(
    case: str, dataset: str, made: Made, tmp_path: Path
) -> None:
    sets = build(made(case), tmp_path / "out", dataset)
    for one in sets:
        records, rejects = read_set(one.folder)
        assert rejects == [] and records
        for loaded in records:
            assert under_mask(loaded) == pytest.approx(RED, abs=8)


def test_a_turned_picture_whose_frame_nobody_can_know_is_named(made: Made, tmp_path: Path) -> None:
    (one,) = build(made("labelstudio-coco-exif") / "result.json", tmp_path / "out", "coco")
    (row,) = read_set(one.folder)[1]
    assert (row.reason, row.file, row.action) == ("exif-orientation", "images/a.jpg", "cleaned")
    assert "orientation 6" in row.detail


BROKEN = {
    "truncated.jpg": "picture-broken", "noeoi.jpg": "picture-broken", "html.jpg": "not-a-picture", "empty.jpg": "not-a-picture",
    "jp2.jp2": "not-a-picture", "avif.avif": "not-a-picture",
}  # fmt: skip
KEPT = {
    "plain.jpg", "cmyk.jpg", "grey.jpg", "progressive.jpg", "trailing.jpg", "zeroes.jpg", "grey16.png", "palette.png",
    "alpha.png", "la.png", "one.png", "png_called.jpg", "animated.gif", "animated.webp", "apng.png", "plain.bmp", "tif.tif",
    "mpo.jpg", "exif6.jpg", "exif3.png",
}  # fmt: skip


def test_kinds_of_picture_files(made: Made, tmp_path: Path) -> None:
    records, rejects = records_of(made("pictures"), tmp_path / "out", "coco")
    seen = {loaded.record.image.file_name: loaded for loaded in records if loaded.record.image}
    assert seen.keys() == KEPT
    assert all((masks(loaded)["left block"][0] == blocks(LEFT)).all() for loaded in records)
    dropped = {row.file.removeprefix("images/"): row.reason for row in rejects if row.action == "dropped"}
    assert dropped == {name: reason for name, reason in BROKEN.items() if name in dropped or name != "avif.avif"}
    told = {row.file for row in rejects if row.action == "cleaned"}
    assert told == {"images/exif6.jpg", "images/exif3.png"}
    assert under_mask(seen["grey16.png"]) == pytest.approx(under_mask(seen["grey.jpg"]), abs=4)
    assert np.asarray(decode_picture(seen["grey16.png"].image or b"")).mean() < 230


def test_the_picture_in_a_list_is_used(made: Made, tmp_path: Path) -> None:
    records, rejects = records_of(made("llava-images-key") / "mine.json", tmp_path / "out", "llava")
    questions = {loaded.record.dialogues[0].messages[0].content[-1].text: loaded for loaded in records}
    assert questions["What colour is the left block?"].image and not questions["Say hello."].image and not rejects


def test_odd_conversations(made: Made, tmp_path: Path) -> None:
    """What talks about something that is not there is refused; the others are as they were, or told of."""
    records, rejects = records_of(made("llava-odd"), tmp_path / "out", "llava")
    kept = {str(loaded.record.source.image_id): loaded for loaded in records}
    assert kept.keys() == {"1", "late", "nomarker", "ocr", "list", "qwen", "imgnull"}
    assert len(records) == 8  # two are called 1
    assert {name for name, loaded in kept.items() if not loaded.image} == {"imgnull"}
    assert not any("  " in text or "<" in text for loaded in records for text in _texts(loaded))
    assert Counter(row.reason for row in rejects if row.action == "dropped") == {
        "bad-conversation": 4, "several-images": 1, "no-picture": 1, "other-media": 1, "path-escape": 1, "picture-missing": 1,
        "empty-text": 1, "not-a-picture": 1,
    }  # fmt: skip


def _texts(loaded: Loaded) -> list[str]:
    messages = loaded.record.dialogues[0].messages
    return [content.text for message in messages for content in message.content]


def test_reasonseg_files_of_ones_own(made: Made, tmp_path: Path) -> None:
    records, rejects = records_of(made("reasonseg-odd"), tmp_path / "out", "reason_seg")
    said = {str(one.record.source.image_id): [talk.expression for talk in one.record.dialogues] for one in records}
    assert said == {
        "upper": ["x y"], "line": ["x y"], "upperext": ["x y"], "bom": ["Größe", "What is big?"],
        "cp1252": ["the “thing” that’s red"],
    }  # fmt: skip
    assert all(rles.decode(one.record.targets[0].rle).sum() == 3500 for one in records)
    (row,) = [row for row in rejects if row.reason == "degenerate-polygon"]
    assert (row.file, row.record) == ("ReasonSeg/train/twopoints.json", "shapes[1]")
    lost = {row.file for row in rejects if row.expressions or row.reason == "unreadable-file"}
    assert {Path(name).stem for name in lost} == {"twopoints", "rect", "other", "textstr", "nosentence", "train"}


def test_every_case_is_looked_at() -> None:
    if not CASES.is_dir():
        pytest.skip(f"no cases at {CASES}; STAMP_CASES names another folder")
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert {path.parent.name for path in CASES.glob("*/make.py")} <= set(re.findall(r'"([a-z0-9-]+)"', tests))
