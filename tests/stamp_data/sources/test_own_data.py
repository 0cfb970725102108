"""One's own data: COCO instances and labelme folders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stamp_data import rle
from stamp_data.sources import open_source
from stamp_data.sources.coco import COCO
from stamp_data.sources.labelme import LabelMe
from stamp_schemas import RLE, Region, StampError

from .raw import Json, annotation, base64_png, image, instances, read, reasons, shape, two_images, write_json


def area(region: Region) -> float:
    """Pixels under a polygon or an RLE."""
    value = json.loads(bytes(region.segmentation))
    if isinstance(value, dict):
        return rle.area(RLE(tuple(value["size"]), value["counts"]))
    x, y = np.array(value[0][::2]), np.array(value[0][1::2])
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)


def test_a_category_names_all_its_things(tmp_path: Path) -> None:
    write_json(tmp_path / "annotations/instances_val2017.json", two_images())
    (one, two), rejects = read("coco", tmp_path, "val")
    assert [(r.text, r.targets) for r in one.requests] == [("cup", [0])] and not rejects
    assert one.targets[0].instances == ["11", "12"] and len(one.targets[0].regions) == 2
    assert two.targets[0].instances == ["21"]


def test_phrases_of_annotations(tmp_path: Path) -> None:
    held = instances(
        [image(1)],
        [
            annotation(1, 1, expression="left"),
            annotation(2, 1, expressions=["right", "the other", "right"]),
            annotation(3, 1, caption="both"),
            annotation(4, 1, caption="both", iscrowd=1, segmentation={"size": [48, 64], "counts": [3072]}),
            annotation(5, 1, expression=" "),
        ],
    )
    write_json(tmp_path / "mine.json", held)
    (record,), rejects = read("coco", tmp_path / "mine.json")
    assert [(r.id, r.text, r.targets) for r in record.requests] == [
        ("1", "left", [0]), ("2", "right", [1]), ("2-2", "the other", [1]), ("3", "both", [2]),
    ]  # fmt: skip
    assert reasons(rejects) == [("crowd-ignored", 0), ("empty-text", 1)]
    assert [(region.where[1], region.role) for region in record.targets[2].regions] == [
        ("annotation 3", "target"), ("annotation 4", "ignore"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "pictures", "split"),
    [
        ("annotations/instances_val2017.json", "val2017", "val"),
        ("annotations/instances_val.json", "images/val", "val"),
        ("annotations/mine.json", "images", "train"),
        ("annotations/mine.json", "", "train"),
        ("instances_test.json", "test", "test"),
        ("valid/_annotations.coco.json", "valid", "val"),
    ],
)
def test_splits_and_picture_folders(tmp_path: Path, file: str, pictures: str, split: str) -> None:
    write_json(tmp_path / file, two_images())
    (tmp_path / pictures).mkdir(parents=True, exist_ok=True)
    name = image(1)["file_name"]
    (tmp_path / pictures / name).touch()
    assert COCO.find(tmp_path) == [""]
    source = open_source("coco", tmp_path)
    source.load()
    assert source.splits() == [split]
    (record, _), _ = read("coco", tmp_path, split)
    assert record.image is not None and record.image.path == f"{pictures}/{name}".lstrip("/")


def test_two_files_of_one_split_are_kept_apart(tmp_path: Path) -> None:
    for year in (2014, 2017):
        write_json(tmp_path / f"annotations/instances_train{year}.json", two_images())
    source = open_source("coco", tmp_path)
    source.load()
    assert source.splits() == ["instances_train2014", "instances_train2017"]


def test_coco_rows(tmp_path: Path) -> None:
    held = instances(
        [image(1), image(2, file_name="/abs.jpg")],
        [
            annotation(1, 1, category_id=9),
            annotation(2, 2),
            annotation(3, 77),
            annotation(4, 1, segmentation=None),
            annotation(6, 1),
            annotation(5, 1, expression="x"),
            {"id": "no image"},
        ],
    )
    write_json(tmp_path / "annotations/a.json", held)
    (record,), rejects = read("coco", tmp_path)
    assert [r.text for r in record.requests] == ["x"]
    assert reasons(rejects) == [
        ("bad-annotation", 0), ("bad-segmentation", 1), ("image-missing", 1), ("no-phrase", 0), ("path-escape", 1),
    ]  # fmt: skip


def labelme(shapes: list[Json], path: str = "a.jpg", **other: object) -> Json:
    return {"shapes": shapes, "imagePath": path, "imageHeight": 40, "imageWidth": 60, "imageData": "x" * 50, **other}


def test_labelme_shapes(tmp_path: Path) -> None:
    mask = np.zeros((5, 7), np.uint8)
    mask[1:4, 2:6] = 255
    shapes = [
        shape("box", [[10, 20], [4, 8]], shape_type="rectangle"),
        shape("disc", [[20, 20], [25, 20]], shape_type="circle"),
        shape("cut", [[3, 2], [9, 6]], shape_type="mask", mask=base64_png(mask)),
        shape("edge", [[58, 38], [64, 42]], shape_type="mask", mask=base64_png(mask)),
        shape("way", [[1, 1], [2, 2]], shape_type="line"),
    ]
    write_json(tmp_path / "a.json", labelme(shapes))
    (record,), rejects = read("labelme", tmp_path)
    assert reasons(rejects) == [("no-area", 1)]
    box, disc, cut, edge = (area(target.regions[0]) for target in record.targets)
    assert box == 72 and disc == pytest.approx(np.pi * 25, rel=2e-3) and cut == 12 and edge == 0


def test_labelme_phrases_groups_and_ignored(tmp_path: Path) -> None:
    shapes = [
        shape("cup", group_id=1),
        shape("cup", group_id=1),
        shape("cup"),
        shape("plate", group_id=1, description="the blue plate"),
        shape("__ignore__"),
    ]
    write_json(tmp_path / "a.json", labelme(shapes))
    (record,), rejects = read("labelme", tmp_path)
    assert not rejects
    assert [(r.text, r.targets) for r in record.requests] == [("cup", [0]), ("the blue plate", [1])]
    assert [t.instances for t in record.targets] == [["0", "2"], ["3"]]
    assert [[region.role for region in t.regions] for t in record.targets] == [
        ["target"] * 3 + ["ignore"],
        ["target", "ignore"],
    ]
    assert record.targets[1].categories == ["plate"]


def test_every_description_of_a_group_is_a_phrase_of_it(tmp_path: Path) -> None:
    shapes = [
        shape("cup", group_id=1, description=text) for text in ("the left cup", "", "one in blue", "the left cup")
    ]
    write_json(tmp_path / "a.json", labelme(shapes))
    (record,), rejects = read("labelme", tmp_path)
    assert [(r.text, r.targets) for r in record.requests] == [("the left cup", [0]), ("one in blue", [0])]
    assert len(record.targets[0].regions) == len(shapes) and not rejects


@pytest.mark.parametrize("size", [(60.0, 40.0), ("60", "40")])
def test_labelme_numbers_may_be_whole_floats_or_texts(tmp_path: Path, size: tuple[object, object]) -> None:
    cup = shape("cup", [["1", "1"], ["9", 1.0], [9, "9.5"]], group_id=1.0)  # type: ignore[list-item]
    write_json(tmp_path / "a.json", labelme([cup, shape("cup", group_id=1)], imageWidth=size[0], imageHeight=size[1]))
    (record,), rejects = read("labelme", tmp_path)
    assert record.image is not None and (record.image.width, record.image.height) == (60, 40) and not rejects
    assert len(record.targets[0].regions) == 2 and record.targets[0].instances == ["0"]


@pytest.mark.parametrize("size", [("wide", 40), (60.5, 40), (60, -1), (60, "0")])
def test_labelme_sizes_that_are_none_are_refused(tmp_path: Path, size: tuple[object, object]) -> None:
    write_json(tmp_path / "a.json", labelme([shape("cup")], imageWidth=size[0], imageHeight=size[1]))
    records, rejects = read("labelme", tmp_path)
    assert not records and reasons(rejects) == [("bad-image", 1)]


@pytest.mark.parametrize("size", [(0, 0), ("0", 0.0), (None, None)])
def test_labelme_sizes_that_nobody_measured_are_those_of_the_picture(
    tmp_path: Path, size: tuple[object, object]
) -> None:
    mask = shape("cut", [[3, 2], [9, 6]], shape_type="mask", mask=base64_png(np.ones((5, 7), np.uint8)))
    write_json(tmp_path / "a.json", labelme([shape("cup"), mask], imageWidth=size[0], imageHeight=size[1]))
    (record,), (reject,) = read("labelme", tmp_path)
    assert record.image is not None and (record.image.width, record.image.height) == (None, None)
    assert [request.text for request in record.requests] == ["cup"]
    assert reject.reason == "bad-shape" and "does not say the size of the picture" in reject.detail


def test_labelme_phrases_are_cleaned_before_they_are_compared(tmp_path: Path) -> None:
    labels = ["cup", "cup ", " cup\n", "<image>cup", "Cup"]
    write_json(tmp_path / "a.json", labelme([*map(shape, labels), shape("__ignore__ ")]))
    (record,), (row,) = read("labelme", tmp_path)
    found = {r.text: [region.role for region in record.targets[r.targets[0]].regions] for r in record.requests}
    assert found == {"cup": ["target"] * 4 + ["ignore"], "Cup": ["target", "ignore"]}
    assert (row.record, row.reason, row.action) == ("shapes[3]", "control-token", "cleaned")


@pytest.mark.parametrize(
    "broken",
    [
        {"label": "cup", "shape_type": "polygon"},
        {"label": "cup", "points": "none"},
        {"label": "cup", "points": [[1, 1], ["x", 2], [3, 3]]},
        {**shape("cup"), "shape_type": 5},
        {**shape("cup"), "group_id": [1]},
        {**shape("cup"), "description": "half \ud83d"},
        {"label": "cup ", "points": [[1, 1]], "shape_type": "point"},
        {"label": "plate", "description": "cup", "points": [[1, 1], [2, 2]], "shape_type": "line"},
    ],
)
def test_a_shape_that_cannot_be_read_or_used_takes_its_phrase_with_it(tmp_path: Path, broken: Json) -> None:
    write_json(tmp_path / "a.json", labelme([shape("cup"), shape("plate"), broken]))
    (record,), (row,) = read("labelme", tmp_path)
    assert [r.text for r in record.requests] == ["plate"]
    assert row.record == "shapes[2]" and "'cup'" in row.detail and row.expressions == 1


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (shape("cup", shape_type="spline"), "bad-shape"),
        (shape("cup", [[1, 1]], shape_type="rectangle"), "bad-shape"),
        (shape("cup", [[1, 1], [1.7e308, -1.7e308]], shape_type="circle"), "bad-shape"),
        (shape("cup", [[1, 1], [5, 5]], shape_type="mask", mask="AAAA"), "bad-shape"),
        (shape("cup", [[1, 1], [5, 5]], shape_type="mask"), "bad-shape"),
        (shape("cup", [[-1, 1], [5, 5]], shape_type="mask", mask=base64_png(np.ones((5, 5), np.uint8))), "bad-shape"),
        (shape("cup", [[1, 1], [5, 5]], shape_type="mask", mask=base64_png(np.ones((500, 5), np.uint8))), "bad-shape"),
    ],
)
def test_a_broken_labelme_shape_takes_its_phrase_with_it(tmp_path: Path, broken: Json, reason: str) -> None:
    write_json(tmp_path / "a.json", labelme([shape("cup"), broken, shape("plate")]))
    (record,), rejects = read("labelme", tmp_path)
    assert [r.text for r in record.requests] == ["plate"] and reasons(rejects) == [(reason, 1)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({}, [("unreadable-file", 0)]),
        (labelme([shape("a")], "../a.jpg", imageData=None), [("path-escape", 1)]),
        (labelme([shape("a")], "..\\a.jpg", imageData=None), [("path-escape", 1)]),
        (labelme([shape("a")], imageWidth=0), [("bad-image", 1)]),
        (labelme([shape("")]), [("empty-text", 1)]),
        (labelme([{"label": 3}]), [("bad-shape", 1)]),
    ],
)
def test_a_broken_labelme_file_is_rows(tmp_path: Path, value: Json, expected: list[tuple[str, int]]) -> None:
    write_json(tmp_path / "a.json", value)
    records, rejects = read("labelme", tmp_path)
    assert not records and reasons(rejects) == expected


def test_labelme_is_found_by_what_its_files_say(tmp_path: Path) -> None:
    write_json(tmp_path / "other.json", {"text": [], "shapes": []})
    assert LabelMe.find(tmp_path) == [] and LabelMe.find(tmp_path / "other.json") == []
    write_json(tmp_path / "cam1/day2/a.json", labelme([]))
    assert LabelMe.find(tmp_path) == [""] and LabelMe.find(tmp_path / "cam1") == [""]
    with pytest.raises(StampError, match="holds no JSON file"):
        open_source("labelme", write_json(tmp_path / "none/a.txt", {}).parent)


def test_labelme_files_of_all_folders_are_read(tmp_path: Path) -> None:
    for name in ("b.json", "cam2/b.json", "cam1/b.json", "cam1/x/b.json", ".trash/b.json"):
        write_json(tmp_path / name, labelme([shape("cup")], "b.jpg", imageData=None))
    (tmp_path / "cam1/b.jpg").touch()
    records, rejects = read("labelme", tmp_path)
    assert [r.id for r in records] == ["b", "cam1/b", "cam1/x/b", "cam2/b"] and not rejects
    assert [r.where for r in records][1] == ("cam1/b.json", "b")
    assert [r.image.path for r in records if r.image] == ["b.jpg", "cam1/b.jpg", "cam1/x/b.jpg", "cam2/b.jpg"]
    assert len(open_source("labelme", tmp_path).inputs) == 4


@pytest.mark.parametrize(
    ("path", "files", "found"),
    [
        ("../images/b.jpg", ["images/b.jpg"], "images/b.jpg"),
        ("..\\images\\b.jpg", ["images/b.jpg"], "images/b.jpg"),
        ("b.jpg", ["labels/b.jpg", "images/b.jpg"], "labels/b.jpg"),
        ("b.jpg", ["images/b.jpg"], "images/b.jpg"),
        ("OLD.JPG", ["labels/a.png"], "labels/a.png"),
        ("b.jpg", [], "labels/b.jpg"),
    ],
)
def test_pictures_of_labelme_files(tmp_path: Path, path: str, files: list[str], found: str) -> None:
    write_json(tmp_path / "labels/a.json", labelme([shape("cup")], path, imageData=None))
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (record,), rejects = read("labelme", tmp_path)
    assert record.image is not None and (record.image.path, record.image.embedded) == (found, "")
    assert reasons(rejects) == ([("picture-renamed", 0)] if path == "OLD.JPG" else [])


def test_pictures_beside_the_root_are_found(tmp_path: Path) -> None:
    write_json(tmp_path / "labels/a.json", labelme([shape("cup")], "../images/b.jpg", imageData=None))
    (record,), rejects = (None,), reasons(read("labelme", tmp_path / "labels")[1])
    assert record is None and rejects == [("path-escape", 1)]
    (tmp_path / "images").mkdir()
    (tmp_path / "images/b.jpg").touch()
    (found,), _ = read("labelme", tmp_path / "labels")
    assert found.image is not None and (found.image.root, found.image.path) == (1, "b.jpg")


@pytest.mark.parametrize("path", ["a.jpg", "C:\\pictures\\a.jpg", "../../a.jpg", ""])
def test_pictures_inside_labelme_files_are_used_where_there_is_no_other(tmp_path: Path, path: str) -> None:
    write_json(tmp_path / "x/a.json", labelme([shape("cup")], path))
    (record,), rejects = read("labelme", tmp_path)
    assert record.image is not None and not rejects
    name = "x/a.jpg" if path else "x/a"
    assert (record.image.path, record.image.embedded) == (name, "x/a.json")
    (tmp_path / "x/a.jpg").touch()
    (record,), _ = read("labelme", tmp_path)
    assert record.image is not None and record.image.embedded == ("" if path else "x/a.json")


@pytest.mark.parametrize("kind", ["rotation", "quadrilateral", "oriented_rectangle", "rectangle"])
def test_four_corners_are_an_area(tmp_path: Path, kind: str) -> None:
    corners = [[10, 4], [16, 10], [10, 16], [4, 10]]
    write_json(tmp_path / "a.json", labelme([shape("turned", corners, shape_type=kind, direction=0.3)]))
    (record,), rejects = read("labelme", tmp_path)
    assert area(record.targets[0].regions[0]) == 72 and not rejects


def test_labels_are_cleaned_before_they_are_compared(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", labelme([shape("dog"), shape("dog "), shape(" dog"), shape("__ignore__ ")]))
    (record,), rejects = read("labelme", tmp_path)
    assert [r.text for r in record.requests] == ["dog"] and not rejects
    assert [region.role for region in record.targets[0].regions] == ["target"] * 3 + ["ignore"]
    assert record.targets[0].categories == ["dog"] * 3


def test_flags_say_that_a_phrase_names_nothing(tmp_path: Path) -> None:
    shapes = [shape("cup"), shape("a unicorn", [[1, 1]], shape_type="point", flags={"no_target": True, "x": False})]
    flags = {"no_target: two  horses": True, "no_target: three": False, "blurred": True, "no_target": True}
    write_json(tmp_path / "a.json", labelme(shapes, flags=flags))
    (record,), rejects = read("labelme", tmp_path)
    assert [(r.text, record.targets[r.targets[0]].regions == []) for r in record.requests] == [
        ("two horses", True), ("cup", False), ("a unicorn", True),
    ]  # fmt: skip
    assert not rejects and {t.id for t in record.targets if not t.regions} == {"none"}
    write_json(tmp_path / "a.json", labelme([shape("cup")], flags={"no_target: cup": True}))
    assert reasons(read("labelme", tmp_path)[1]) == [("contradictory-phrase", 1)]


def test_real_records(real_data: Path) -> None:
    people, rejects = read("coco", real_data / "coco", "val")
    assert [len(r.targets[0].regions) for r in people] == [1, 3, 5] and not rejects
    hidden, _ = read("coco", real_data / "coco_rle/ochuman_subset.json")
    assert all(r.image and (real_data / "coco_rle" / r.image.path).is_file() for r in hidden)
    (crowd,), rejects = read("coco", real_data / "coco_crowd_fixture", "val")
    assert reasons(rejects) == [("crowd-ignored", 0), ("crowd-only", 1)]
    assert [r.text for r in crowd.requests] == ["a"] and crowd.image and crowd.image.path == "images/val/b.jpg"
    drawn, rejects = read("labelme", real_data / "labelme")
    assert reasons(rejects) == [("no-area", 1)] * 3
    octagon = next(t for r in drawn for t in r.targets if t.categories == ["octagon"])
    assert 7_000 < area(octagon.regions[0]) < 9_000


def test_a_labelme_shape_of_null_type_is_a_polygon(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"shapes": [shape("cat", shape_type=None)], "imagePath": "a.jpg"})
    (record,), rejects = read("labelme", tmp_path)
    assert [request.text for request in record.requests] == ["cat"] and not rejects


@pytest.mark.parametrize("key", ["sent", "sents", "prompt", "query", "referring_expressions"])
def test_phrases_under_other_keys_are_not_passed_over_for_the_category(tmp_path: Path, key: str) -> None:
    write_json(tmp_path / "i.json", instances([image(1)], [annotation(1, 1, **{key: "the left one"})]))
    with pytest.raises(StampError, match=f"`{key}` says what"):
        read("coco", tmp_path / "i.json")
    write_json(tmp_path / "i.json", instances([image(1)], [annotation(1, 1, **{key: "x"}, expression="the left one")]))
    (record,), _ = read("coco", tmp_path / "i.json")
    assert record.requests[0].text == "the left one"
