"""SA-Co and LVIS: COCO's layout with a meaning of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from stamp_data.doctor import examine

from ..raw import Json, write_json
from .making import CORNERS, HEIGHT, TRIANGLE, WIDTH, Said, polygon_mask, put, refused

SIZE = {"width": WIDTH, "height": HEIGHT}


def polygon(points: list[tuple[float, float]]) -> list[list[float]]:
    return [[value for point in points for value in point]]


def runs(points: list[tuple[float, float]]) -> Json:
    packed = coco_mask.encode(np.asfortranarray(polygon_mask(points).astype(np.uint8)))
    return {"size": packed["size"], "counts": packed["counts"].decode()}


def pair(number: int, phrase: str | None, name: str = "metaclip_1/a.jpg", **other: Any) -> Json:
    """An image of SA-Co: a picture with a noun phrase."""
    said = {} if phrase is None else {"text_input": phrase}
    exhaustive = {"is_instance_exhaustive": 1, "is_pixel_exhaustive": 1}
    return {"id": number, "file_name": name, **said, **SIZE, "queried_category": "7", **exhaustive, **other}


def mask(number: int, image: int, points: list[tuple[float, float]], **other: Any) -> Json:
    """An annotation of SA-Co: its box and area are parts of the picture."""
    return {
        "id": number, "image_id": image, "bbox": [0.1, 0.2, 0.3, 0.4], "area": 0.1, "segmentation": runs(points),
        "category_id": 1, "source": "human", "iscrowd": 0, **other,
    }  # fmt: skip


def saco(images: list[Any], annotations: list[Any]) -> Json:
    return {"info": {}, "images": images, "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}


def lvis(images: list[Any], annotations: list[Any]) -> Json:
    names = ["car", "aerosol_can", "crab_(animal)", "dog"]
    categories = [
        {"id": 1 + number, "name": name, "synset": f"{name}.n.01", "synonyms": [name], "def": "", "frequency": "r"}
        for number, name in enumerate(names)
    ]
    return {"images": images, "annotations": annotations, "categories": categories}


def photo(number: int, **other: Any) -> Json:
    address = f"http://images.cocodataset.org/train2017/{number:012d}.jpg"
    return {
        "id": number,
        **SIZE,
        "coco_url": address,
        "neg_category_ids": [],
        "not_exhaustive_category_ids": [],
        **other,
    }


def test_a_picture_with_a_phrase_each(tmp_path: Path) -> None:
    """Three entries are one picture; the one without annotations names nothing."""
    root = tmp_path / "data"
    put(root, "images/metaclip_1/a.jpg")
    images = [pair(1, "chili"), pair(2, "the fish ball"), pair(3, "a unicorn")]
    masks = [mask(1, 1, CORNERS), mask(2, 1, TRIANGLE), mask(3, 2, TRIANGLE)]
    write_json(root / "gold_metaclip_test.json", saco(images, masks))
    found = Said(root, tmp_path / "out", "saco")
    assert found.records == {"test": 1} and found.phrases == ["a unicorn", "chili", "the fish ball"] and not found.rows
    assert np.array_equal(found.mask("chili"), polygon_mask(CORNERS, TRIANGLE))
    assert np.array_equal(found.mask("the fish ball"), polygon_mask(TRIANGLE)) and not found.mask("a unicorn").any()


def test_noun_phrases_of_annotations_and_images(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "a.jpg")
    images = [pair(1, None, "a.jpg"), pair(2, None, "a.jpg", noun_phrase="a cow")]
    write_json(
        root / "mine.json",
        saco(images, [mask(1, 1, CORNERS, noun_phrase="car"), mask(2, 1, TRIANGLE, noun_phrase="cup")]),
    )
    found = Said(root, tmp_path / "out", "saco")
    assert found.phrases == ["a cow", "car", "cup"] and np.array_equal(found.mask("cup"), polygon_mask(TRIANGLE))


def test_annotators_are_splits(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "a.jpg")
    for who in "abc":
        masks = [mask(1, 1, CORNERS)] if who != "c" else []
        write_json(root / f"gold_nps_{who}_release_test.json", saco([pair(1, "car", "a.jpg")], masks))
    found = Said(root, tmp_path / "out", "saco")
    assert [split for split, _, _ in sorted(found.masks)] == [f"gold_nps_{who}_release_test" for who in "abc"]
    assert [bool(masks[0].any()) for _, masks in sorted(found.masks.items())] == [True, True, False]


def test_what_saco_cannot_use_is_told(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "a.jpg", "b.jpg")
    images = [
        pair(1, "good", "a.jpg"),
        pair(2, "half", "a.jpg", is_instance_exhaustive=0, is_pixel_exhaustive=0),
        pair(11, "half, as one key tells", "a.jpg", is_instance_exhaustive=0, is_pixel_exhaustive=None),
        pair(3, "spoilt", "a.jpg"),
        pair(4, "maskless", "a.jpg"),
        pair(5, "wrong size", "a.jpg"),
        pair(6, "away", "../b.jpg"),
        pair(1, "again", "a.jpg"),
        pair(8, "grown", "a.jpg", width=WIDTH + 1),
        pair(9, None, "a.jpg"),
        {"id": 7},
    ]
    odd = {"size": [HEIGHT + 1, WIDTH], "counts": [(HEIGHT + 1) * WIDTH]}
    masks = [
        mask(1, 1, CORNERS), mask(2, 2, CORNERS), {"image_id": 3, "id": {}}, mask(4, 4, CORNERS, segmentation="x"),
        mask(5, 5, CORNERS, segmentation=odd), mask(6, 7, CORNERS), mask(9, 9, CORNERS),
    ]  # fmt: skip
    write_json(root / "mine.json", saco(images, masks))
    found = Said(root, tmp_path / "out", "saco")
    assert found.phrases == ["good"]
    told = {row.record: row.reason for row in found.rows}
    wanted = {
        "image 2": "not-exhaustive",
        "image 11": "not-exhaustive",
        "image 3": "bad-annotation",
        "annotation 4": "bad-segmentation",
        "annotation 5": "target-refused",
        "image 6": "path-escape",
        "images[7]": "duplicate-id",
        "image 8": "bad-image",
        "images[10]": "bad-image",
        "annotation 6": "image-missing",
        "annotation 9": "no-phrase",
        "annotations[2]": "bad-annotation",
    }
    assert {record: told.get(record) for record in wanted} == wanted


def test_lvis_names_its_pictures_by_address(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "train2017/000000000007.jpg")
    image = photo(7, neg_category_ids=[4], not_exhaustive_category_ids=[3])
    segments = {1: CORNERS, 2: TRIANGLE, 3: CORNERS}
    entries = [
        {
            "id": number,
            "image_id": 7,
            "category_id": number,
            "area": 1.0,
            "bbox": [0, 0, 1, 1],
            "segmentation": polygon(points),
        }
        for number, points in segments.items()
    ]
    write_json(root / "annotations/lvis_v1_train.json", lvis([image], entries))
    found = Said(root, tmp_path / "out", "lvis")
    assert found.phrases == ["aerosol can", "car", "dog"] and found.records == {"train": 1}
    assert np.array_equal(found.mask("aerosol can"), polygon_mask(TRIANGLE)) and not found.mask("dog").any()
    assert [(row.reason, row.expressions) for row in found.rows] == [("not-exhaustive", 1)]


def test_paco_names_parts(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "train2017/a.jpg")
    held = lvis([photo(7, file_name="train2017/a.jpg", neg_category_ids=[1])], [])
    held["categories"] = [{"id": 1, "name": "dog"}, {"id": 2, "name": "mug_(cup):inner_body", "supercategory": "PART"}]
    held["annotations"] = [
        {"id": 1, "image_id": 7, "category_id": 2, "obj_ann_id": 5, "segmentation": polygon(TRIANGLE)}
    ]
    found = Said(
        write_json(root / "annotations/paco_lvis_v1_train.json", held), tmp_path / "out", "lvis", images=(root,)
    )
    assert found.phrases == ["dog", "the inner body of the mug"] and not found.rows


def test_a_category_that_has_two_names_is_told(tmp_path: Path) -> None:
    """Nobody knows which of them an annotation means."""
    put(tmp_path / "data", "a.jpg")
    held = lvis([photo(7, file_name="a.jpg")], [])
    held["categories"] = [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 1, "name": "cow"}]
    held["annotations"] = [
        {"id": number, "image_id": 7, "category_id": number, "segmentation": polygon(CORNERS)} for number in (1, 2)
    ]
    found = Said(write_json(tmp_path / "data/l.json", held), tmp_path / "out", "lvis")
    assert found.phrases == ["cat"]
    assert found.reasons == [("annotation 1", "no-phrase"), ("categories[2]", "duplicate-id")]


@pytest.mark.parametrize("name", ["saco", "lvis"])
@pytest.mark.parametrize("content", [b"", b"[", b'{"images": 3}', b'{"annotations": []}'])
def test_a_file_that_is_none_ends_in_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(content)
    with refused("mine.json"):
        Said(path, tmp_path / "out", name)


@pytest.mark.parametrize("name", ["saco", "lvis"])
def test_the_doctor_takes_it_for_no_other(name: str, tmp_path: Path) -> None:
    """Both look like COCO, and lie where COCO's files lie."""
    put(tmp_path, "images/a.jpg")
    image = pair(1, "car", "a.jpg") if name == "saco" else photo(1, file_name="a.jpg")
    write_json(tmp_path / "annotations/mine.json", (saco if name == "saco" else lvis)([image], [mask(1, 1, CORNERS)]))
    (report,) = [one for one in examine(tmp_path).datasets if one.state != "absent"]
    assert (report.dataset, report.state, report.splits[0].opened) == (name, "ready", 1) and not report.splits[
        0
    ].findings
