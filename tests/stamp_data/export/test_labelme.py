"""labelme: what a shape can hold comes back pixel by pixel; the rest is named."""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from stamp_data import rle as rles
from stamp_data.export import export_sets
from stamp_data.shards.reader import ShardSet
from stamp_data.shards.rejects import read_rejects
from stamp_data.sources.labelme import LabelMe
from stamp_schemas import Annotation, Request

from ..making import ListSource, box, build, pictured
from ..test_pixels import oriented


def mask_of(shapes: list[dict[str, Any]], height: int, width: int) -> np.ndarray:
    """Pixels of shapes, joined, by the description of the format alone."""
    mask = np.zeros((height, width), bool)
    for shape in shapes:
        if shape["shape_type"] == "mask":
            (left, top), (right, bottom) = shape["points"]
            with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as image:
                assert image.size == (right - left + 1, bottom - top + 1)
                mask[top : bottom + 1, left : right + 1] |= np.asarray(image).astype(bool)
        else:
            ring = [value for point in shape["points"] for value in point]
            mask |= coco_mask.decode(coco_mask.frPyObjects([ring], height, width)[0]).astype(bool)
    return mask


def texts(file: dict[str, Any]) -> set[str]:
    return {shape["description"] for shape in file["shapes"]}


@pytest.mark.parametrize("polygons", [False, True])
def test_shapes_are_the_masks(mixed: Path, tmp_path: Path, polygons: bool) -> None:
    report = export_sets([mixed], "labelme", tmp_path / "out", polygons=polygons, allow_loss=True)
    held = 0
    with ShardSet(mixed) as shards:
        for loaded in shards:
            path = tmp_path / "out" / "tiny" / "train" / f"{loaded.record.key}.json"
            if loaded.image is None or loaded.record.image is None:
                assert not path.exists()
                continue
            file = json.loads(path.read_text(encoding="utf-8"))
            size = loaded.record.image.height, loaded.record.image.width
            assert (file["imageHeight"], file["imageWidth"]) == size
            assert (path.parent / file["imagePath"]).read_bytes() == loaded.image
            held += sum(len(talk.messages) == 2 and talk.expression in texts(file) for talk in loaded.record.dialogues)
            nothing = {flag.removeprefix("no_target: ") for flag in file["flags"]}
            held += sum(talk.expression in nothing for talk in loaded.record.dialogues)
            assert nothing == {talk.expression for talk in loaded.record.dialogues if talk.targets == [2]}
            by_text: dict[str, list[dict[str, Any]]] = {}
            for shape in file["shapes"]:
                by_text.setdefault(shape["description"], []).append(shape)
            for text, shapes in by_text.items():
                dialogue = next(talk for talk in loaded.record.dialogues if talk.expression == text)
                target = loaded.record.targets[dialogue.targets[0]]
                assert {shape["label"] for shape in shapes} == set(target.categories)
                assert np.array_equal(mask_of(shapes, *size), rles.decode(target.rle) == 1)
    assert held == report.written.dialogues > 0


def test_every_loss_has_its_name(mixed: Path, tmp_path: Path) -> None:
    report = export_sets([mixed], "labelme", tmp_path / "out", allow_loss=True)
    lost = Counter({(loss.code, loss.what): loss.count for loss in report.losses})
    pictures, talks = 9, 5  # of 14 records: by turns three with expressions (drawn twice), one talk with, one without
    assert lost == {
        ("several-masks", "dialogues"): 2 * pictures,
        ("in-lost-dialogues", "targets"): pictures,
        ("ignored-per-target", "ignored"): pictures,
        ("conversation", "dialogues"): 3,
        ("text-only", "records"): talks - 3,
        ("text-only", "dialogues"): talks - 3,
    }


def test_the_same_words_twice_are_one_shape_and_a_loss(tmp_path: Path) -> None:
    annotation = pictured(tmp_path / "raw", 1)
    annotation.requests = [Request(str(n), "the dog", [0], ("tiny.json", "1")) for n in range(3)]
    folder = build(ListSource(tmp_path / "raw", [annotation]), tmp_path / "set", passes=2)
    report = export_sets([folder], "labelme", tmp_path / "out", allow_loss=True)
    assert [(loss.code, loss.count) for loss in report.losses] == [("repeated", 4)]
    (path,) = (tmp_path / "out").rglob("*.json")
    assert len(json.loads(path.read_text(encoding="utf-8"))["shapes"]) == 1


def test_the_same_words_for_another_target_are_a_loss(tmp_path: Path) -> None:
    """A phrase of labelme's means all that bears it: with both, either would come back as the union."""
    annotation = pictured(tmp_path / "raw", 1)
    annotation.targets[0].categories = [" __ignore__"]
    annotation.requests = [Request(str(n), "the dog", [n], ("tiny.json", "1")) for n in range(2)]
    folder = build(ListSource(tmp_path / "raw", [annotation]), tmp_path / "set")
    report = export_sets([folder], "labelme", tmp_path / "out", allow_loss=True)
    assert [(loss.code, loss.what) for loss in report.losses if loss.what != "ignored"] == [
        ("same-words", "dialogues"), ("in-lost-dialogues", "targets"),
    ]  # fmt: skip
    source = LabelMe(tmp_path / "out" / "tiny" / "train")
    source.load()
    (mask,) = contents(build(source, tmp_path / "again")).values()
    with ShardSet(folder) as shards:
        assert mask[0] == next(iter(shards)).record.targets[0].rle.counts


def with_ignored_regions(root: Path) -> list[Annotation]:
    """Pictures with one target and a region that does not count, as ReasonSeg has them."""
    made = []
    for number in range(4):
        annotation = pictured(root, number)
        annotation.targets = annotation.targets[:1]
        annotation.targets[0].regions.append(box(5, 30, 20, 45, "ignore"))
        annotation.requests = annotation.requests[:1]
        made.append(annotation)
    return made


@pytest.mark.parametrize("polygons", [False, True])
def test_our_own_source_reads_it_back(simple: Path, tmp_path: Path, polygons: bool) -> None:
    ignored = build(ListSource(tmp_path / "raw", with_ignored_regions(tmp_path / "raw")), tmp_path / "ignored")
    for number, folder in enumerate((simple, ignored)):
        out = tmp_path / str(number)
        report = export_sets([folder], "labelme", out, polygons=polygons)
        assert report.written.ignored == (4 if folder == ignored else 0)
        source = LabelMe(out / "tiny" / "train")
        source.load()
        assert contents(build(source, tmp_path / f"again{number}")) == contents(folder)


@pytest.mark.parametrize("polygons", [False, True])
def test_shapes_of_turned_pictures_are_those_of_the_upright_one(tmp_path: Path, polygons: bool) -> None:
    made = with_ignored_regions(tmp_path / "raw")
    for orientation, annotation in zip((3, 6, 7, 8), made, strict=True):
        assert annotation.image is not None
        path = tmp_path / "raw" / annotation.image.path
        path.write_bytes(oriented(np.asarray(Image.open(path)), "JPEG", orientation))
    folder = build(ListSource(tmp_path / "raw", made), tmp_path / "sets")
    export_sets([folder], "labelme", tmp_path / "out", polygons=polygons)
    source = LabelMe(tmp_path / "out" / "tiny" / "train")
    source.load()
    again = build(source, tmp_path / "again")
    assert contents(again) == contents(folder)
    assert [row.reason for row in read_rejects(again / "rejects.jsonl")] == []


def contents(folder: Path) -> dict[tuple[bytes | None, str], tuple[str, str, bytes]]:
    """Mask, ignored area and labels by picture and expression."""
    found = {}
    with ShardSet(folder) as shards:
        for loaded in shards:
            assert loaded.labels is not None
            for dialogue in loaded.record.dialogues:
                target = loaded.record.targets[dialogue.targets[0]]
                ignore = target.ignore_rle.counts if target.ignore_rle else ""
                labels = loaded.labels[dialogue.targets[0]].tobytes()
                found[loaded.image, dialogue.expression] = (target.rle.counts, ignore, labels)
    return found
