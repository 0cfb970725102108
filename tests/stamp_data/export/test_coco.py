"""coco: read back by pycocotools, and by this project's own COCO source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from pycocotools.coco import COCO

from stamp_data import rle as rles
from stamp_data.export import export_sets
from stamp_data.shards.reader import Loaded, ShardSet
from stamp_data.sources import coco as coco_source
from stamp_schemas import Request, Target

from ..making import ListSource, box, build, pictured


@pytest.fixture(scope="module", params=[False, True], ids=["rle", "polygons"])
def exported(request: pytest.FixtureRequest, mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "out"
    export_sets([mixed], "coco", out, polygons=request.param)
    return out / "tiny"


@pytest.fixture(scope="module")
def coco(exported: Path) -> Any:
    return COCO(str(exported / "annotations" / "instances_train.json"))


@pytest.fixture(scope="module")
def records(mixed: Path) -> dict[str, Loaded]:
    with ShardSet(mixed) as shards:
        return {loaded.record.key: loaded for loaded in shards}


def test_pictures(exported: Path, coco: Any, records: dict[str, Loaded]) -> None:
    assert len(coco.imgs) == sum(loaded.image is not None for loaded in records.values())
    for image in coco.imgs.values():
        loaded = records[image["record"]]
        assert loaded.record.image is not None
        assert (image["width"], image["height"]) == (loaded.record.image.width, loaded.record.image.height)
        assert (exported / "images" / "train" / image["file_name"]).read_bytes() == loaded.image


def test_masks(coco: Any, records: dict[str, Loaded]) -> None:
    """Every mask that is not empty, pixel by pixel, and every ignored region as a crowd."""
    expected = {
        (key, target.id, crowd): mask
        for key, loaded in records.items()
        for target in loaded.record.targets
        for crowd, mask in ((0, target.rle if target.area else None), (1, target.ignore_rle))
        if mask is not None
    }
    assert len(coco.anns) == len(expected)
    for annotation in coco.anns.values():
        key = coco.imgs[annotation["image_id"]]["record"]
        mask = expected.pop((key, annotation["target"], annotation["iscrowd"]))
        assert np.array_equal(coco.annToMask(annotation), rles.decode(mask))
        assert annotation["area"] == rles.area(mask) and tuple(annotation["bbox"]) == rles.bbox(mask)
        if annotation["iscrowd"]:
            assert coco.anns[annotation["ignored_by"]]["target"] == annotation["target"]
    assert not expected


def test_categories(coco: Any, records: dict[str, Loaded]) -> None:
    names = {category["id"]: category["name"] for category in coco.cats.values()}
    assert set(names.values()) == {"dog", "cat"}
    for annotation in coco.anns.values():
        targets = records[coco.imgs[annotation["image_id"]]["record"]].record.targets
        assert (
            names[annotation["category_id"]] == next(t for t in targets if t.id == annotation["target"]).categories[0]
        )


def test_refs_hold_every_dialogue(coco: Any, records: dict[str, Loaded]) -> None:
    refs = coco.dataset["refs"]
    assert len(refs) == sum(len(loaded.record.dialogues) for loaded in records.values())
    kinds = set()
    for ref in refs:
        loaded = records[ref["record"]]
        dialogue = next(talk for talk in loaded.record.dialogues if talk.id == ref["dialogue"])
        assert ref["expression"] == dialogue.expression
        assert ref["messages"] == msgspec.to_builtins(dialogue.messages)
        assert (ref["image_id"] is None) == (loaded.image is None)
        found = [coco.anns[number]["target"] if number > 0 else "nothing" for number in ref["ann_ids"]]
        assert found == [loaded.record.targets[index].id for index in dialogue.targets]
        kinds.add(len(found) if "nothing" not in found else "none")
    assert kinds == {0, 1, 2, "none"}


def test_expressions_stand_with_their_annotation(coco: Any) -> None:
    for annotation in coco.anns.values():
        if annotation["target"] == "left" and not annotation["iscrowd"]:
            (expression,) = annotation["expressions"]
            assert expression.startswith("the dog")


def test_nothing_but_the_one_file(exported: Path) -> None:
    assert [path.name for path in (exported / "annotations").iterdir()] == ["instances_train.json"]
    assert set(json.loads((exported / "annotations" / "instances_train.json").read_text(encoding="utf-8"))) == {
        "info", "licenses", "categories", "images", "annotations", "refs",
    }  # fmt: skip


@pytest.mark.parametrize("polygons", [False, True])
def test_our_own_source_reads_it_back(simple: Path, tmp_path: Path, polygons: bool) -> None:
    export_sets([simple], "coco", tmp_path / "out", polygons=polygons)
    source = coco_source.COCO(tmp_path / "out" / "tiny")
    source.load()
    again = build(source, tmp_path / "again")
    assert masks_by_expression(again) == masks_by_expression(simple)


def test_sentences_that_say_the_same_come_back_as_often_and_passes_do_not(tmp_path: Path) -> None:
    annotation = pictured(tmp_path / "raw", 1)
    annotation.requests = [Request(str(n), "the dog", [0], ("tiny.json", "1")) for n in range(3)]
    folder = build(ListSource(tmp_path / "raw", [annotation]), tmp_path / "set", passes=2)
    export_sets([folder], "coco", tmp_path / "out")
    source = coco_source.COCO(tmp_path / "out" / "tiny")
    source.load()
    with ShardSet(build(source, tmp_path / "again")) as shards:
        (loaded,) = shards
    assert [one.expression for one in loaded.record.dialogues] == ["the dog"] * 3


@pytest.mark.parametrize("regions", [2, 1])
def test_of_regions_around_several_empty_masks_the_loss_is_named(regions: int, tmp_path: Path) -> None:
    """All empty masks are -1, so that a region around one of several would come back around them all."""
    annotation = pictured(tmp_path / "raw", 1)
    hidden = [[box(2, 3, 9, 9, "ignore")], [box(20, 3, 29, 9, "ignore")]][:regions]
    annotation.targets = [Target(str(n), regions) for n, regions in enumerate([*hidden, *hidden[:1]])]
    annotation.requests = [Request(str(n), f"no {n}", [n], ("tiny.json", "1")) for n in range(regions + 1)]
    folder = build(ListSource(tmp_path / "raw", [annotation]), tmp_path / "set")
    report = export_sets([folder], "coco", tmp_path / "out", allow_loss=True)
    lost = [] if regions == 1 else [("ignored-per-empty-mask", 3)]
    assert [(loss.code, loss.count) for loss in report.losses] == lost


def masks_by_expression(folder: Path) -> dict[tuple[bytes | None, str], str]:
    with ShardSet(folder) as shards:
        return {
            (loaded.image, dialogue.expression): loaded.record.targets[dialogue.targets[0]].rle.counts
            for loaded in shards
            for dialogue in loaded.record.dialogues
        }
