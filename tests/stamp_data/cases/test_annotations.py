"""Annotations as people really have them: every expression covers what it names, or is told of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stamp_data.doctor import examine
from stamp_data.export import export_sets

from ..raw import build, read_set
from .seeing import LEFT, RIGHT, Made, blocks, built, masks, refused


def test_every_rle_of_a_list_counts_for_refclef(made: Made, tmp_path: Path) -> None:
    root = made("refclef-rle-list")
    found, rejects = built(root, tmp_path / "out", "refclef")
    assert set(found) == {"red block", "the left thing"} and not rejects
    assert all((mask == blocks(LEFT)).all() for mask, _ in found.values())
    (report,) = [one for one in examine(root).datasets if one.dataset == "refclef"]
    assert not {finding.code for split in report.splits for finding in split.findings} & {"record-refused", "refused"}


@pytest.mark.parametrize("case", ["coco-duplicate-ids", "coco-one-id-missing", "labelme-trailing-space"])
def test_dog_names_both_dogs(case: str, made: Made, tmp_path: Path) -> None:
    found, rejects = built(made(case), tmp_path / "out", case.partition("-")[0])
    assert list(found) == ["dog"] and not rejects
    assert (found["dog"][0] == blocks(LEFT, RIGHT)).all()


@pytest.mark.parametrize("label", ["caf\u00e9", "cafe\u0301 ", "cafe\u0301\u200b", "\u200ecaf\u00e9"])
def test_labels_that_look_the_same_are_the_same(label: str, made: Made, tmp_path: Path) -> None:
    root = made("labelme-trailing-space")
    path = next(root.glob("*.json"))
    file = json.loads(path.read_text(encoding="utf-8"))
    for shape, name in zip(file["shapes"], ("caf\u00e9", label), strict=True):
        shape["label"] = name
    path.write_text(json.dumps(file), encoding="utf-8")
    found, rejects = built(root, tmp_path / "out", "labelme")
    assert list(found) == ["caf\u00e9"] and not rejects
    assert (found["caf\u00e9"][0] == blocks(LEFT, RIGHT)).all()


@pytest.mark.parametrize(("crowd", "area", "ignored"), [("ignore", 3500, 3200), ("instance", 6700, 0)])
def test_a_crowd_counts_neither_way_unless_it_is_declared_an_instance(
    crowd: str, area: int, ignored: int, made: Made, tmp_path: Path
) -> None:
    found, rejects = built(made("coco-crowd"), tmp_path / "out", "coco", crowd=crowd)
    assert [row.reason for row in rejects] == (["crowd-ignored"] if crowd == "ignore" else [])
    assert (found["person"][0].sum(), found["person"][1].sum()) == (area, ignored)


def test_ways_to_write_a_segmentation(made: Made, tmp_path: Path) -> None:
    found, rejects = built(made("coco-odd-segmentations"), tmp_path / "out", "coco")
    assert set(found) == {
        "nested", "flat", "strings", "rle", "rle-list", "size-float", "counts-float", "closed", "one-odd-part",
    }  # fmt: skip
    for way, (mask, _) in found.items():
        assert way == "counts-float" or (mask == blocks(LEFT)).all(), way
    assert found["counts-float"][0].sum() == 16780
    lost = " ".join(row.detail for row in rejects if row.expressions)
    assert all(
        f"'{way}'" in lost for way in ("pairs", "normalised", "bytes-repr", "size-swapped", "null", "box4", "text")
    )


def test_ignored_regions_come_back_from_our_own_export(made: Made, tmp_path: Path) -> None:
    root = made("coco-roundtrip-ignore")
    first, _ = built(root, tmp_path / "a", "labelme")
    export_sets([tmp_path / "a/labelme/train"], "coco", tmp_path / "b")
    again, rejects = built(tmp_path / "b/labelme", tmp_path / "c", "coco")
    assert not rejects and list(again) == list(first) == ["bottle"]
    for found in (first, again):
        assert (found["bottle"][0] == blocks(LEFT)).all() and (found["bottle"][1] == blocks(RIGHT)).all()


def test_what_is_refused_as_a_whole_is_listed(made: Made, tmp_path: Path) -> None:
    fault = refused(made("labelme-all-refused"), tmp_path / "out", "labelme")
    folder = tmp_path / "out/labelme/train"
    assert "no-area 5, path-escape 5" in fault.message
    assert [path.name for path in folder.iterdir()] == ["rejects.jsonl"]
    assert len((folder / "rejects.jsonl").read_text(encoding="utf-8").splitlines()) == 10


def test_a_file_in_gbk_is_refused_with_the_way_out_which_works(made: Made, tmp_path: Path) -> None:
    root = made("labelme-gbk")
    assert "--encoding gbk" in str(refused(root, tmp_path / "out", "labelme"))
    found, rejects = built(root, tmp_path / "again", "labelme", encoding="gbk")
    assert list(found) == ["红色方块"] and not rejects


def test_the_row_names_the_annotation_at_fault(made: Made, tmp_path: Path) -> None:
    fault = refused(made("labelstudio-coco-old") / "result.json", tmp_path / "out", "coco")
    rows = (tmp_path / "out/coco/train/rejects.jsonl").read_text(encoding="utf-8")
    assert "annotation 1" in fault.hint + fault.message and "annotation 0" not in rows
    assert '"record":"annotation 1","reason":"empty-segmentation"' in rows


def test_ids_straight_from_numpy(made: Made, tmp_path: Path) -> None:
    found, rejects = built(made("refcoco-numpy-ids"), tmp_path / "out", "refcoco")
    assert list(found) == ["red block"] and not rejects and (found["red block"][0] == blocks(LEFT)).all()


def test_vias_export(made: Made, tmp_path: Path) -> None:
    (one,) = build(made("via-coco") / "via_coco.json", tmp_path / "out", "coco")
    records, rejects = read_set(one.folder)
    assert len(records) == 2 and not rejects
    assert all((masks(loaded)["block"][0] == blocks(LEFT)).all() for loaded in records)


NAMED = {
    "yolo": "YOLO", "pngmasks": "masks as PNG", "voc": "Pascal VOC", "ade20k": "ADE20K", "cocostuff": "COCO-Stuff",
    "paco": "PACO", "lvis": "LVIS", "vg": "Visual Genome", "phrasecut": "PhraseCut", "sa1b": "SA-1B", "via": "VIA",
    "labelstudio": "Label Studio", "cvatxml": "CVAT XML", "panoptic": "COCO panoptic", "captions": "COCO captions",
    "parquet": "Parquet", "rrsisd": "REFER",
}  # fmt: skip


def test_formats_of_other_tools_are_named(made: Made, tmp_path: Path) -> None:
    root = made("unsupported-formats")
    for folder in sorted(root.iterdir()):
        fault = refused(folder, tmp_path / "out" / folder.name, "coco")
        assert "malformed" not in str(fault) and "download it again" not in str(fault)
        assert folder.name not in NAMED or NAMED[folder.name] in fault.message, folder.name
    assert refused(root / "rrsisd", tmp_path / "again", "coco").hint == "`stamp-data build refer --name rrsisd`"
