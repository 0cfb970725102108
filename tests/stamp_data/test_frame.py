"""EXIF orientation: a mask lies where its annotation means it, in the stored picture, for every format and orientation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from stamp_data import rle as rles
from stamp_data.frame import Seen, seen
from stamp_data.masks import paint
from stamp_data.picture import Picture, PictureFault
from stamp_data.shards.reader import Loaded
from stamp_schemas import ImageRef, Region, Reject

from .raw import Raw, build, build_one, read_set
from .test_pixels import UPRIGHT, oriented

WIDE, SQUARE = (40, 28), (36, 36)  # width, height
POLYGON = [[3, 2], [22.5, 4], [17, 19.25], [6, 23]]  # of no symmetry
FORMS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif"}


def stored(upright: Any, orientation: int) -> Any:
    """The array that `orientation` turns into `upright`."""
    back = {6: 8, 8: 6}.get(orientation, orientation)
    return UPRIGHT[back](upright)


def drawn(polygon: list[list[float]], width: int, height: int) -> Any:
    """A mask by the rasteriser that every mask is made with, in the frame that the polygon is in."""
    raw = json.dumps([[value for point in polygon for value in point]]).encode()
    region = Region(msgspec.Raw(raw), ("x", "y"))
    return rles.decode(paint([region], height, width).mask)


def photograph(path: Path, form: str, orientation: int, size: tuple[int, int]) -> None:
    """A file that is `size` wide and high once it is turned upright."""
    shades = np.random.default_rng(orientation).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(oriented(np.ascontiguousarray(stored(shades, orientation)), form, orientation))


def masks(folder: Path) -> tuple[dict[str, Any], list[Reject]]:
    """The first mask of every record by its image id, and the rejects."""
    records, rejects = read_set(folder)
    return {str(one.record.source.image_id): mask(one) for one in records}, rejects


def mask(loaded: Loaded) -> Any:
    target = loaded.record.targets[0]
    assert (target.area, target.bbox) == (rles.area(target.rle), rles.bbox(target.rle))
    return rles.decode(target.rle)


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_masks_are_turned_back_exactly(orientation: int) -> None:
    chance = np.random.default_rng(orientation)
    for _ in range(20):
        height, width = chance.integers(1, 40, 2)
        upright = (chance.random((height, width)) < 0.4).astype(np.uint8)
        found = rles.decode(Seen(int(width), int(height), orientation).stored(rles.encode(upright)))
        assert np.array_equal(UPRIGHT[orientation](found), upright)


@pytest.mark.parametrize("size", [WIDE, SQUARE])
def test_labelme_means_the_upright_picture(size: tuple[int, int], tmp_path: Path) -> None:
    root = tmp_path / "raw"
    for form, suffix in FORMS.items():
        for orientation in UPRIGHT:
            name = f"{form}{orientation}"
            photograph(root / f"{name}.{suffix}", form, orientation, size)
            shapes = [{"label": "it", "points": POLYGON, "shape_type": "polygon"}]
            shapes += [{"label": "__ignore__", "points": [[1, 1], [30, 9]], "shape_type": "rectangle"}]
            content = {"imagePath": f"{name}.{suffix}", "imageWidth": size[0], "imageHeight": size[1], "shapes": shapes}
            (root / f"{name}.json").write_text(json.dumps(content))
    (built,) = build(root, tmp_path / "out", "labelme")
    records, rejects = read_set(built.folder)
    assert not rejects and len(records) == len(FORMS) * 8
    whole = drawn([[1, 1], [30, 1], [30, 9], [1, 9]], *size)
    for one in records:
        orientation, target = int(str(one.record.source.image_id)[-1]), one.record.targets[0]
        assert np.array_equal(UPRIGHT[orientation](mask(one)), drawn(POLYGON, *size) & ~whole)
        assert target.ignore_rle is not None
        assert np.array_equal(UPRIGHT[orientation](rles.decode(target.ignore_rle)), whole)
        assert one.labels is not None and one.record.image is not None
        assert mask(one).shape == (one.record.image.height, one.record.image.width)


def test_reasonseg_means_the_upright_picture_and_names_no_size(tmp_path: Path) -> None:
    folder = tmp_path / "raw/reason_seg/ReasonSeg/train"
    for orientation in UPRIGHT:
        photograph(folder / f"p{orientation}.jpg", "JPEG", orientation, WIDE)
        shapes = [{"label": "target", "points": POLYGON, "shape_type": "polygon"}]
        (folder / f"p{orientation}.json").write_text(
            json.dumps({"text": ["it"], "is_sentence": False, "shapes": shapes})
        )
    (built,) = build(tmp_path / "raw", tmp_path / "out", "reason_seg")
    found, rejects = masks(built.folder)
    assert not rejects and len(found) == 8
    for name, one in found.items():
        assert np.array_equal(UPRIGHT[int(name[-1])](one), drawn(POLYGON, *WIDE))


def coco(root: Path, size: tuple[int, int] | None) -> None:
    sizes = {"width": size[0], "height": size[1]} if size else {}
    images = [{"id": n, "file_name": f"{n}.jpg", **sizes} for n in UPRIGHT]
    flat = [[value for point in POLYGON for value in point]]
    rows = [{"id": n, "image_id": n, "category_id": 1, "segmentation": flat} for n in UPRIGHT]
    content = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "it"}]}
    (root / "mine.json").write_text(json.dumps(content))


@pytest.mark.parametrize("named", [True, False])
def test_own_coco_means_the_stored_picture_and_every_turned_one_is_named(named: bool, tmp_path: Path) -> None:
    root = tmp_path / "raw"
    for orientation in UPRIGHT:
        photograph(root / f"{orientation}.jpg", "JPEG", orientation, SQUARE)
    coco(root, SQUARE if named else None)
    (built,) = build(root / "mine.json", tmp_path / "out", "coco")
    found, rejects = masks(built.folder)
    assert all(np.array_equal(one, drawn(POLYGON, *SQUARE)) for one in found.values()) and len(found) == 8
    assert sorted((row.file, row.action) for row in rejects) == [(f"{n}.jpg", "cleaned") for n in range(2, 9)]
    assert all(row.reason == "exif-orientation" and "nobody can know" in row.detail for row in rejects)


def test_sizes_overrule_the_convention_and_that_is_told(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    for orientation in UPRIGHT:
        photograph(root / f"{orientation}.jpg", "JPEG", orientation, WIDE)
    coco(root, WIDE)
    (built,) = build(root / "mine.json", tmp_path / "out", "coco")
    found, rejects = masks(built.folder)
    for name, one in found.items():
        sideways = int(name) >= 5
        assert np.array_equal(UPRIGHT[int(name)](one) if sideways else one, drawn(POLYGON, *WIDE))
    told = sorted(row.file for row in rejects if "upright picture, as its sizes are" in row.detail)
    assert told == [f"{n}.jpg" for n in range(5, 9)]


def test_refcoco_follows_sizes_too_and_else_says_nothing(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "data")
    for number in UPRIGHT:
        path = raw.image(number, size=WIDE)
        photograph(path, "JPEG", number, WIDE)
        raw.ref(number, "it", segmentation=[[value for point in POLYGON for value in point]])
    records, rejects = build_one(raw, tmp_path / "out")
    for one in records:
        number = int(one.record.source.image_id)
        assert np.array_equal(UPRIGHT[number](mask(one)) if number >= 5 else mask(one), drawn(POLYGON, *WIDE))
    assert [row.action for row in rejects] == ["cleaned"] * 4


def test_labelme_sizes_of_the_stored_picture_are_followed() -> None:
    picture = Picture(b"", *WIDE, "jpg", 6)
    found = seen(picture, ImageRef("a.jpg", *WIDE, "upright"))
    assert (found.width, found.height, found.orientation) == (*WIDE, 1)
    assert "a.jpg: EXIF orientation 6; taken as made on the stored picture, as its sizes are" in found.note
    with pytest.raises(PictureFault, match="40×28 pixels, its annotation says 28×41"):
        seen(picture, ImageRef("a.jpg", 28, 41, "upright"))


def test_the_picture_itself_is_stored_byte_for_byte(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "data")
    path = raw.image(1, size=SQUARE)
    photograph(path, "JPEG", 6, SQUARE)
    raw.ref(1, "it", segmentation=[[value for point in POLYGON for value in point]])
    ((loaded,), rejects) = build_one(raw, tmp_path / "out")
    assert loaded.image == path.read_bytes() and not rejects
    assert Image.open(path).getexif()[0x0112] == 6
