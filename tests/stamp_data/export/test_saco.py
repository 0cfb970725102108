"""saco: an entry per picture and phrase, boxes and areas as shares, negatives without annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from stamp_data import rle as rles
from stamp_data.export import export_sets
from stamp_data.shards.reader import Loaded, ShardSet


@pytest.fixture(scope="module")
def records(mixed: Path) -> dict[str, Loaded]:
    with ShardSet(mixed) as shards:
        return {loaded.record.key: loaded for loaded in shards}


@pytest.fixture(scope="module", params=[False, True], ids=["rle", "polygons"])
def exported(request: pytest.FixtureRequest, mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    out = tmp_path_factory.mktemp("export") / "out"
    export_sets([mixed], "saco", out, polygons=request.param, allow_loss=True)
    return out / "tiny", COCO(str(out / "tiny/annotations/train.json"))


def test_entries(exported: tuple[Path, Any], records: dict[str, Loaded]) -> None:
    folder, coco = exported
    kinds = set()
    for image in coco.imgs.values():
        loaded = records[Path(image["file_name"]).stem]
        assert (folder / image["file_name"]).read_bytes() == loaded.image
        talks = [talk for talk in loaded.record.dialogues if talk.expression == image["text_input"]]
        (number,) = {number for talk in talks for number in talk.targets}
        target = loaded.record.targets[number]
        kinds.add((len(target.instances), image["is_instance_exhaustive"], image["is_pixel_exhaustive"]))
        found = coco.imgToAnns[image["id"]]
        assert len(found) == bool(target.area)
        for annotation in found:
            assert np.array_equal(coco.annToMask(annotation), rles.decode(target.rle))
            width, height = image["width"], image["height"]
            assert annotation["area"] == target.area / (width * height)
            scale = (width, height, width, height)
            assert np.allclose(np.multiply(annotation["bbox"], scale), target.bbox)
    assert kinds == {(0, 1, 1), (1, 1, 1)}
    numbers = {(image["text_input"], int(image["queried_category"])) for image in coco.imgs.values()}
    assert len(numbers) == len({text for text, _ in numbers}) == len({number for _, number in numbers}) > 1


def test_a_mask_of_several_things_is_not_one_instance(tmp_path: Path) -> None:
    from ..making import ListSource, build, pictured

    annotation = pictured(tmp_path / "raw", 1)
    annotation.requests = annotation.requests[:1]
    annotation.requests[0].targets = [1]
    folder = build(ListSource(tmp_path / "raw", [annotation]), tmp_path / "set")
    export_sets([folder], "saco", tmp_path / "out", allow_loss=True)
    (image,) = COCO(str(tmp_path / "out/tiny/annotations/train.json")).imgs.values()
    assert (image["is_instance_exhaustive"], image["is_pixel_exhaustive"]) == (0, 1)
