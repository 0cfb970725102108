"""One's own set in REFER's format, under any name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stamp_data.doctor import examine
from stamp_data.sources import open_source
from stamp_data.sources.own_refer import own_sets
from stamp_schemas import StampError, UsageFault

from ..raw import PICTURES, build, picture, read_set
from .raw import Json, annotation, image, instances, ref, write_refer


def rrsisd(root: Path, split_by: str = "unc", **changed: Any) -> Path:
    """A set as RRSIS-D is laid out, with ids straight from numpy."""
    held = instances([image(1, file_name="00001.jpg")], [annotation(11, 1), annotation(12, 1)])
    refs: list[Json] = [
        {**ref(0, 11, 1, ["the bridge"]), "ann_id": np.int64(11), "image_id": np.int64(1), **changed},
        ref(1, [11, 12], 1, ["both bridges"]),
        ref(2, [-1], 1, ["a ship"], no_target=True),
        ref(3, 12, 1, ["the other"], "val"),
    ]
    write_refer(root, refs, held, "rrsisd", split_by, protocol=4)
    folder = root / "refer_seg/images/rrsisd/JPEGImages"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "00001.jpg").write_bytes(picture())
    return root


@pytest.mark.parametrize("at_refer_seg", [False, True])
def test_a_set_is_built_under_its_own_name(tmp_path: Path, at_refer_seg: bool) -> None:
    root = rrsisd(tmp_path / "data")
    root = root / "refer_seg" if at_refer_seg else root
    sets = {one.manifest.name: one.folder for one in build(root, tmp_path / "out", "refer", own_name="rrsisd")}
    assert list(sets) == ["rrsisd-unc/train", "rrsisd-unc/val"]
    (loaded,), rejects = read_set(sets["rrsisd-unc/train"])
    assert not rejects and loaded.record.source.dataset == "rrsisd" and loaded.record.source.image_id == "1"
    areas = [[loaded.record.targets[index].area for index in one.targets] for one in loaded.record.dialogues]
    assert areas == [[100], [100], [0]]


@pytest.mark.parametrize("folder", ["refer_seg/images/rrsisd", "refer_seg/rrsisd/images", PICTURES])
def test_where_its_pictures_may_lie(tmp_path: Path, folder: str) -> None:
    root = rrsisd(tmp_path)
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "refer_seg/images/rrsisd/JPEGImages/00001.jpg").rename(root / folder / "00001.jpg")
    (root / "refer_seg/images/rrsisd/JPEGImages").rmdir()
    if "images/rrsisd" not in folder:
        (root / "refer_seg/images/rrsisd").rmdir()
    (built, _) = build(root, tmp_path / "out", "refer", own_name="rrsisd")
    assert built.manifest.totals.records == 1


def test_its_way_of_splitting_is_the_one_that_is_there(tmp_path: Path) -> None:
    rrsisd(tmp_path, "mine")
    assert open_source("refer", tmp_path, own_name="rrsisd").name == "rrsisd-mine"
    rrsisd(tmp_path)
    assert open_source("refer", tmp_path, own_name="rrsisd").name == "rrsisd-unc"
    assert open_source("refer", tmp_path, "mine", own_name="rrsisd").name == "rrsisd-mine"
    with pytest.raises(UsageFault, match="rrsisd has no split-by 'google'") as caught:
        open_source("refer", tmp_path, "google", own_name="rrsisd")
    assert caught.value.hint == "known: mine, unc"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("refer", ""), "rrsisd"),
        (("refer", "../rrsisd"), "rrsisd"),
        (("refer", "refcoco"), "without --name"),
        (("coco", "rrsisd"), "refer --name rrsisd"),
        (("rrsis", ""), "refer --name NAME"),
    ],
)
def test_calls_that_are_wrong_say_what_would_be_right(tmp_path: Path, call: tuple[str, str], said: str) -> None:
    with pytest.raises(UsageFault) as caught:
        open_source(call[0], rrsisd(tmp_path), own_name=call[1])
    assert said in caught.value.hint


def test_its_bare_name_does_as_well(tmp_path: Path) -> None:
    """`verify --repair` knows no more of a set."""
    assert open_source("rrsisd", rrsisd(tmp_path)).name == "rrsisd-unc"


def test_a_set_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StampError, match=r"refer_seg/mine/refs\(unc\)\.p does not exist"):
        open_source("refer", rrsisd(tmp_path), own_name="mine")


def test_doctor_finds_it(tmp_path: Path) -> None:
    root = rrsisd(tmp_path)
    assert own_sets(root) == ["rrsisd"]
    (found,) = [report for report in examine(root).datasets if report.state != "absent"]
    assert (found.dataset, found.split_by, found.state) == ("rrsisd", "unc", "ready") and not found.findings
    assert [(split.split, split.counts.refs, split.findings) for split in found.splits] == [
        ("train", 3, []),
        ("val", 1, []),
    ]


def test_all_that_is_there_includes_ones_own_sets(tmp_path: Path) -> None:
    rrsisd(tmp_path / "data")
    rrsisd(tmp_path / "data", "google")
    names = {one.manifest.name for one in build(tmp_path / "data", tmp_path / "out", "all")}
    assert names == {f"rrsisd-{split_by}/{split}" for split_by in ("unc", "google") for split in ("train", "val")}
