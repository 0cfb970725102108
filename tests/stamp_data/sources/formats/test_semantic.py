"""ADE20K, COCO-Stuff and PASCAL-Part: what LISA reads of them, and the same masks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from stamp_data.doctor import examine
from stamp_data.sources.formats.painted import by_value
from stamp_data.sources.formats.semantic import class_names

from ..raw import annotation, image, instances, write_json
from .making import CORNERS, HEIGHT, TRIANGLE, WIDTH, Said, polygon_mask, put, refused

RNG = np.random.default_rng(16)
Labels = npt.NDArray[np.uint8]


def blocks(*values: int) -> Labels:
    """A map of classes in blocks of 8 by 8 pixels, each value at least once."""
    chosen = RNG.choice(values, (HEIGHT // 8, WIDTH // 8))
    chosen.flat[: len(values)] = values
    return np.kron(chosen, np.ones((8, 8))).astype(np.uint8)


def save(path: Path, pixels: Labels, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if mode else picture).save(path)


def lisa(dataset: str, labels: Labels, names: list[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """The masks of a map by phrase, as LISA's `SemSegDataset` goes about it."""
    label = labels.copy()
    if dataset == "ade20k":
        label[label == 0] = 255
        label -= 1
        label[label == 254] = 255
    else:
        for index, name in enumerate(names):
            if "-" in name:
                label[label == index] = 255
    return {names[value]: label == value for value in np.unique(label).tolist() if value != 255}


@pytest.mark.parametrize(
    ("dataset", "label", "picture"),
    [
        ("ade20k", "annotations/training/ADE_train_00000001.png", "images/training/ADE_train_00000001.jpg"),
        ("ade20k", "ade20k/annotations/training/ADE_train_00000001.png", "ade20k/images/training/ADE_train_00000001.jpg"),
        ("coco_stuff", "stuffthingmaps/train2017/000000000009.png", "coco/train2017/000000000009.jpg"),
        ("coco_stuff", "cocostuff/train2017/000000000009.png", "cocostuff/train2017/000000000009.jpg"),
        ("coco_stuff", "annotations/train2017/000000000009.png", "images/train2017/000000000009.jpg"),
        ("coco_stuff", "train2017/000000000009.png", "train2017/000000000009.jpg"),
    ],
)  # fmt: skip
def test_masks_are_those_that_lisa_reads(dataset: str, label: str, picture: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    values = (0, 1, 13, 150) if dataset == "ade20k" else (0, 95, 117, 156, 181, 255)
    labels = blocks(*values)
    put(root, picture)
    save(root / label, labels)
    found = Said(root, tmp_path / "out", dataset)
    wanted = lisa(dataset, labels, list(class_names(dataset).values()))
    assert found.phrases == sorted(wanted) and not found.rows and found.records == {"train": 1}
    assert all(np.array_equal(found.mask(phrase), mask) for phrase, mask in wanted.items())


def test_splits_and_names_of_scene_parse(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for folder, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        put(root, f"images/{folder}/{name}.jpg")
        save(root / f"annotations/{folder}/{name}.png", blocks(0, 1, 2, 7))
    table = "Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.1\t9\t9\t1\twall\n2\t0.1\t9\t9\t1\tbuilding, edifice\n"
    (root / "objectInfo150.txt").write_text(table)
    found = Said(root, tmp_path / "out", "ade20k")
    assert found.records == {"train": 1, "val": 1} and found.phrases == ["building", "building", "wall", "wall"]
    assert found.reasons == [("class 7", "no-phrase")] * 2
    (root / "objectInfo150.txt").write_text("Idx\tName\none\twall\n")
    with refused("objectInfo150"):
        Said(root, tmp_path / "again", "ade20k")


@pytest.mark.parametrize("root", ["annotations", "annotations/training", "annotations/training/ADE_train_1.png"])
@pytest.mark.parametrize("is_here", [False, True])
def test_pictures_beside_the_maps_that_the_root_names(
    root: str, is_here: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "images/training/ADE_train_1.jpg")
    save(tmp_path / "annotations/training/ADE_train_1.png", blocks(1, 2))
    given = tmp_path / root
    if is_here and given.is_dir():
        monkeypatch.chdir(given)
        given = Path()
    found = Said(given, tmp_path / "out", "ade20k")
    assert found.phrases == ["building", "wall"] and not found.rows and found.records == {"train": 1}


def whole(root: Path, objects: list[Any], classes: npt.NDArray[np.int32], name: str = "ADE_train_00000001") -> None:
    """A picture of the whole set. classes: [height, width] numbers of classes."""
    put(root, f"{name}.jpg")
    instances_of = RNG.integers(0, 256, classes.shape)
    save(root / f"{name}_seg.png", np.dstack((classes // 256 * 10, classes % 256, instances_of)).astype(np.uint8))
    held = {"annotation": {"filename": f"{name}.jpg", "imsize": [HEIGHT, WIDTH, 3], "object": objects}}
    (root / f"{name}.json").write_bytes(json.dumps(held, ensure_ascii=False).encode("cp1252"))


def test_maps_of_parts_are_no_maps_wherever_the_set_lies(tmp_path: Path) -> None:
    root = tmp_path / "annotations/ADE"
    root.mkdir(parents=True)
    whole(root, [{"name": "sky", "name_ndx": 5}], blocks(0, 5).astype(np.int32))
    shutil.copy(root / "ADE_train_00000001_seg.png", root / "ADE_train_00000001_parts_1.png")
    found = Said(tmp_path, tmp_path / "out", "ade20k")
    assert found.phrases == ["sky"]
    assert found.reasons == []


def test_the_whole_set(tmp_path: Path) -> None:
    root = tmp_path / "ADE20K_2021_17_01/images/ADE/training/urban/street"
    root.mkdir(parents=True)
    classes = blocks(0, 1, 2, 3).astype(np.int32)
    numbers = np.array([0, 2836, 1733, 401])
    objects = [
        {"id": 0, "name": "traffic light, traffic signal", "name_ndx": 2836, "parts": {"part_level": 0}},
        {"id": 1, "name": "café, coffee shop", "name_ndx": 1733},
        {"id": 2, "name": "traffic light, traffic signal", "name_ndx": 2836},
    ]
    whole(root, objects, numbers[classes])
    found = Said(tmp_path / "ADE20K_2021_17_01", tmp_path / "out", "ade20k")
    assert found.phrases == ["café", "traffic light"] and found.reasons == [("class 401", "no-phrase")]
    assert np.array_equal(found.mask("traffic light"), classes == 1)
    assert np.array_equal(found.mask("café"), classes == 2)


def test_a_map_that_changes_is_noticed(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    objects = [{"name": "wall", "name_ndx": 1}]
    whole(root, objects, blocks(0, 1).astype(np.int32))
    Said(root, tmp_path / "out", "ade20k")
    whole(root, objects, blocks(0, 1).astype(np.int32))
    with refused(r"_seg\.png has changed"):
        Said(root, tmp_path / "out", "ade20k")


def test_what_cannot_be_used_costs_its_picture_alone(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, *(f"train2017/{number:012}.jpg" for number in (1, 2, 3, 4)))
    save(root / "train2017/000000000001.png", blocks(0, 200))
    save(root / "train2017/000000000002.png", blocks(0, 1), "RGB")  # panoptic
    (root / "train2017/000000000003.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    save(root / "train2017/000000000004.png", blocks(0, 1)[:40])
    save(root / "train2017/000000000005.png", blocks(0, 1))
    found = Said(root, tmp_path / "out", "coco_stuff")
    assert found.phrases == ["person"]
    reasons = {row.file.rpartition("/")[2][11:12] + row.record[:5]: row.reason for row in found.rows}
    assert reasons == {
        "1class": "no-phrase", "200000": "unreadable-file", "300000": "unreadable-file", "4train": "size-mismatch",
        "5train": "picture-missing",
    }  # fmt: skip


def test_an_empty_map_says_nothing(tmp_path: Path) -> None:
    put(tmp_path / "data", "train2017/000000000001.jpg", "train2017/000000000002.jpg")
    save(tmp_path / "data/train2017/000000000001.png", blocks(255, 117))
    save(tmp_path / "data/train2017/000000000002.png", blocks(90))
    assert Said(tmp_path / "data", tmp_path / "out", "coco_stuff").phrases == ["hair brush"]


@pytest.mark.parametrize("trial", range(20))
def test_maps_are_taken_apart_as_by_comparison(trial: int) -> None:
    from pycocotools import mask as coco_mask

    rng = np.random.default_rng(trial)
    pixels = rng.integers(0, rng.integers(1, 6), tuple(rng.integers(1, 12, 2)), dtype=np.int32)
    found = {}
    for value, raw in by_value(pixels):
        held = json.loads(bytes(raw))
        found[value] = coco_mask.decode({"size": held["size"], "counts": held["counts"].encode()})
    assert sorted(found) == np.unique(pixels).tolist()
    assert all(np.array_equal(mask, pixels == value) for value, mask in found.items())


PARTS = [{"id": 1, "name": "aeroplane:body"}, {"id": 2, "name": "dog:head"}]


def test_pascal_part(tmp_path: Path) -> None:
    """As VLPart writes it, in LISA's folders."""
    outlines = [[value for point in points for value in point] for points in (CORNERS, TRIANGLE)]
    entries = [
        annotation(1, 1, category_id=2, segmentation=[outlines[0]]),
        annotation(2, 1, category_id=2, segmentation=[outlines[1]]),
        annotation(3, 1, category_id=1, segmentation=[outlines[0]]),
        annotation(4, 2, category_id=1, segmentation=[]),
        annotation(5, 2, category_id=9, segmentation=[outlines[0]]),
        annotation(6, 2, category_id=2, segmentation=[outlines[0]]),
    ]
    images = [image(1, file_name="2008_000008.jpg"), image(2, file_name="2008_000015.jpg")]
    write_json(tmp_path / "pascal_part/train.json", instances(images, entries) | {"categories": PARTS})
    put(tmp_path / "pascal_part/VOCdevkit/VOC2010/JPEGImages", "2008_000008.jpg", "2008_000015.jpg")
    found = Said(tmp_path / "pascal_part", tmp_path / "out", "pascal_part")
    head = "the head of the dog"
    assert found.phrases == ["the body of the aeroplane", head, head]
    assert np.array_equal(found.mask(head, "2008_000008"), polygon_mask(CORNERS, TRIANGLE))
    assert np.array_equal(found.mask(head, "2008_000015"), polygon_mask(CORNERS))
    assert sorted(row.record for row in found.rows) == ["annotation 4", "annotation 4", "annotation 5"]
    assert {row.reason for row in found.rows} == {"no-phrase", "empty-segmentation", "target-refused"}


def test_the_folder_of_lisa(tmp_path: Path) -> None:
    """All of its sets below one root, each with its pictures where LISA has them; there are many maps of the first."""
    for number in range(70):
        save(tmp_path / f"ade20k/annotations/training/ADE_train_{number}.png", blocks(1, 2)[:8, :8])
    put(tmp_path, "ade20k/images/training/ADE_train_1.jpg", size=(8, 8))
    put(tmp_path, "cocostuff/train2017/000000000001.jpg", "coco/train2017/000000000002.jpg")
    save(tmp_path / "cocostuff/train2017/000000000001.png", blocks(0, 1, 2))
    paco = {"file_name": "train2017/000000000002.jpg", "neg_category_ids": [], "not_exhaustive_category_ids": []}
    categories = [{"id": 1, "name": "dog:head"}]
    held = instances([image(1, **paco)], [annotation(1, 1)]) | {"categories": categories}
    write_json(tmp_path / "vlpart/paco/annotations/paco_lvis_v1_train.json", held)
    held = instances([image(1, file_name="2008_000008.jpg")], [annotation(1, 1)]) | {"categories": PARTS}
    write_json(tmp_path / "vlpart/pascal_part/train.json", held)
    put(tmp_path, "vlpart/pascal_part/VOCdevkit/VOC2010/JPEGImages/2008_000008.jpg", "other/2008_000008.jpg")
    reports = {one.dataset: one for one in examine(tmp_path).datasets if one.state != "absent"}
    assert reports.keys() == {"ade20k", "coco_stuff", "lvis", "pascal_part"}
    assert all(report.state == "ready" for report in reports.values())
    for name in ("coco_stuff", "lvis", "pascal_part"):
        (split,) = reports[name].splits
        assert (split.opened, split.unusable, split.findings) == (1, 0, []), name


def test_the_doctor_examines_them(tmp_path: Path) -> None:
    put(tmp_path, "ade20k/images/validation/ADE_val_1.jpg", "coco/val2017/000000000001.jpg")
    save(tmp_path / "ade20k/annotations/validation/ADE_val_1.png", blocks(1, 2))
    save(tmp_path / "cocostuff/val2017/000000000001.png", blocks(0, 1, 2))
    reports = {one.dataset: one for one in examine(tmp_path).datasets}
    assert {"ade20k", "coco_stuff"} <= reports.keys()
    for name, phrases in (("ade20k", 2), ("coco_stuff", 3)):
        (split,) = reports[name].splits
        assert (reports[name].state, split.split, split.counts.sentences, split.findings) == (
            "ready",
            "val",
            phrases,
            [],
        )
