"""The raw files have the keys, names and places of the real downloads."""

from __future__ import annotations

import json
import pickletools
import re
from pathlib import Path

import pytest
from PIL import Image

from .reading import SETS, load_instances, load_refs

REF_KEYS = {"sent_ids", "file_name", "ann_id", "ref_id", "image_id", "split", "sentences", "category_id"}
SENTENCE_KEYS = {"tokens", "raw", "sent_id", "sent"}
IMAGE_KEYS = {"license", "file_name", "coco_url", "height", "width", "date_captured", "flickr_url", "id"}
ANNOTATION_KEYS = {"segmentation", "area", "iscrowd", "image_id", "bbox", "category_id", "id"}
SHAPE_KEYS = {"label", "labels", "shape_type", "image_name", "points", "group_id", "group_ids", "flags"}
SPLITS = {
    "refcoco": {"unc": {"train", "val", "testA", "testB"}, "google": {"train", "val", "test"}},
    "refcoco+": {"unc": {"train", "val", "testA", "testB"}},
    "refcocog": {"umd": {"train", "val", "test"}},
    "refclef": {"unc": {"train", "val", "testA", "testB", "testC"}, "berkeley": {"train", "val", "test"}},
    "grefcoco": {"unc": {"train", "val", "testA", "testB"}},
}
LLAVA_FOLDERS = {
    "coco/train2017", "gqa/images", "ocr_vqa/images", "textvqa/train_images", "vg/VG_100K", "vg/VG_100K_2",
}  # fmt: skip


def image_folder(name: str) -> str:
    return "refer_seg/images/" + ("saiapr_tc-12" if name == "refclef" else "coco_2014/train2014")


@pytest.mark.parametrize("name", SPLITS)
def test_instances_are_coco(playground: Path, name: str) -> None:
    loaded = load_instances(playground, name)
    assert set(loaded) == {"info", "images", "licenses", "annotations", "categories"}
    assert all(set(c) == {"supercategory", "id", "name"} for c in loaded["categories"])
    categories = {c["id"] for c in loaded["categories"]}
    sizes = {}
    for image in loaded["images"]:
        assert set(image) == IMAGE_KEYS
        with Image.open(playground / image_folder(name) / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"]) == (256, 192)
            assert picture.format == "JPEG"
        sizes[image["id"]] = picture.size
    pattern = r"\d\d/images/\d+\.jpg" if name == "refclef" else r"COCO_train2014_\d{12}\.jpg"
    assert all(re.fullmatch(pattern, image["file_name"]) for image in loaded["images"])
    for a in loaded["annotations"]:
        assert set(a) == ANNOTATION_KEYS
        assert a["iscrowd"] == 0 and a["category_id"] in categories
        x, y, w, h = a["bbox"]
        assert x >= 0 and y >= 0 and x + w <= 256.01 and y + h <= 192.01 and 0 < a["area"] <= w * h * 1.01
        assert a["image_id"] in sizes
    assert len({a["id"] for a in loaded["annotations"]}) == len(loaded["annotations"])


def test_masks_of_refclef_are_lists_of_rles(playground: Path) -> None:
    """Of one or of several, compressed or not; nothing else."""
    found = [a["segmentation"] for a in load_instances(playground, "refclef")["annotations"]]
    assert {type(part["counts"]) for parts in found for part in parts} == {str, list}
    assert {len(parts) for parts in found} == {1, 2}


def test_every_kind_of_segmentation_occurs(playground: Path) -> None:
    found = [a["segmentation"] for a in load_instances(playground, "refcoco")["annotations"]]
    assert any(isinstance(s, list) and len(s) == 1 for s in found)
    assert any(isinstance(s, list) and len(s) > 1 for s in found), "several polygons"
    assert any(isinstance(s, dict) and isinstance(s["counts"], str) for s in found), "compressed run lengths"
    assert any(isinstance(s, dict) and isinstance(s["counts"], list) for s in found), "plain run lengths"


@pytest.mark.parametrize(("name", "split_by"), [(name, by) for name, ways in SETS.items() for by in ways])
def test_refs(playground: Path, name: str, split_by: str) -> None:
    refs = load_refs(playground, name, split_by)
    annotations = {a["id"]: a for a in load_instances(playground, name)["annotations"]}
    assert {ref["split"] for ref in refs} == SPLITS[name][split_by]
    for ref in refs:
        assert set(ref) == REF_KEYS
        annotation = annotations[ref["ann_id"]]
        assert (annotation["image_id"], annotation["category_id"]) == (ref["image_id"], ref["category_id"])
        assert ref["file_name"].endswith(f"_{ref['ann_id']}.jpg")
        assert ref["sent_ids"] == [s["sent_id"] for s in ref["sentences"]] and ref["sentences"]
        for s in ref["sentences"]:
            assert set(s) == SENTENCE_KEYS
            assert s["sent"] == " ".join(s["tokens"]) == s["sent"].lower() and not s["sent"].endswith(".")
    sent_ids = [i for ref in refs for i in ref["sent_ids"]]
    assert len(set(sent_ids)) == len(sent_ids) and len({ref["ref_id"] for ref in refs}) == len(refs)


@pytest.mark.parametrize(("name", "split_by"), [(name, by) for name, ways in SETS.items() for by in ways])
def test_pickles_are_protocol_0_and_name_no_globals(playground: Path, name: str, split_by: str) -> None:
    raw = (playground / "refer_seg" / name / f"refs({split_by}).p").read_bytes()
    codes = {code.name: code.proto for code, _, _ in pickletools.genops(raw)}
    assert max(codes.values()) == 0
    assert not {"GLOBAL", "INST", "OBJ", "REDUCE", "BUILD"} & set(codes)


def test_grefs(playground: Path) -> None:
    refs = load_refs(playground, "grefcoco", "unc")
    annotations = {a["id"]: a for a in load_instances(playground, "grefcoco")["annotations"]}
    assert {ref["split"] for ref in refs} == SPLITS["grefcoco"]["unc"]
    assert {min(len(ref["ann_id"]), 2) for ref in refs if not ref["no_target"]} == {1, 2}
    assert any(ref["no_target"] for ref in refs)
    for ref in refs:
        assert set(ref) == REF_KEYS | {"no_target"}
        assert all(set(s) == SENTENCE_KEYS | {"exist"} and s["exist"] != ref["no_target"] for s in ref["sentences"])
        if ref["no_target"]:
            assert ref["ann_id"] == ref["category_id"] == [-1]
        else:
            assert [annotations[i]["category_id"] for i in ref["ann_id"]] == ref["category_id"]
            assert {annotations[i]["image_id"] for i in ref["ann_id"]} == {ref["image_id"]}


def test_reason_seg(playground: Path) -> None:
    root = playground / "reason_seg" / "ReasonSeg"
    labels, styles = set(), set()
    for split in ("train", "val", "test"):
        files = sorted((root / split).glob("*.json"))
        assert files and len(files) == len(list((root / split).glob("*.jpg")))
        for file in files:
            record = json.loads(file.read_text(encoding="utf-8"))
            assert set(record) == {"text", "is_sentence", "shapes"}
            assert 1 <= len(record["text"]) <= (6 if split == "train" else 1)
            assert any(shape["label"] == "target" for shape in record["shapes"])
            styles.add(record["is_sentence"])
            for shape in record["shapes"]:
                labels.add(shape["label"])
                assert set(shape) == SHAPE_KEYS and shape["labels"] == [shape["label"]]
                assert shape["image_name"] == f"{file.stem}.jpg" and shape["shape_type"] == "polygon"
                assert all(0 <= x <= 256 and 0 <= y <= 192 for x, y in shape["points"])
                assert len(shape["points"]) == 2 if shape["label"] == "flag" else len(shape["points"]) > 2
    assert styles == {True, False}
    assert {"target", "ignore"} <= labels
    for item in json.loads((root / "explanatory" / "train.json").read_text(encoding="utf-8")):
        assert set(item) == {"query", "outputs", "image", "json"}
        assert item["query"] in json.loads((root / "train" / item["json"]).read_text(encoding="utf-8"))["text"]
        assert (root / "train" / item["image"]).exists()


def test_llava(playground: Path) -> None:
    records = json.loads((playground / "llava_v1_5_mix665k.json").read_text(encoding="utf-8"))
    folders, suffixes = set(), set()
    for record in records:
        turns = record["conversations"]
        assert [t["from"] for t in turns] == ["human", "gpt"] * (len(turns) // 2)
        assert all(set(t) == {"from", "value"} and t["value"] for t in turns)
        assert sum(t["value"].count("<image>") for t in turns) == ("image" in record)
        if "image" in record:
            assert set(record) == {"id", "image", "conversations"} and "<image>" in turns[0]["value"]
            named = playground / record["image"]
            (stored,) = named.parent.glob(f"{named.stem}.*")
            with Image.open(stored) as picture:
                assert picture.format == {".jpg": "JPEG", ".png": "PNG"}[stored.suffix]
            folders.add(str(Path(record["image"]).parent))
            suffixes.add((named.parent.parent.name, named.suffix, stored.suffix))
        else:
            assert set(record) == {"id", "conversations"}
    assert folders == LLAVA_FOLDERS
    assert ("ocr_vqa", ".jpg", ".png") in suffixes
    assert any("image" not in r for r in records) and any(len(r["conversations"]) > 2 for r in records)
    assert len({r["id"] for r in records}) == len(records)


def test_evaluation_pictures_are_trained_on_by_no_set(playground: Path) -> None:
    trained: set[int] = set()
    evaluated: set[int] = set()
    for name, ways in {**SETS, "grefcoco": ("unc",)}.items():
        if name == "refclef":
            continue  # other pictures, other identifiers
        for split_by in ways:
            of: dict[int, set[str]] = {}
            for ref in load_refs(playground, name, split_by):
                of.setdefault(ref["image_id"], set()).add(ref["split"])
                (trained if ref["split"] == "train" else evaluated).add(ref["image_id"])
            assert all(len(splits) == 1 for splits in of.values())
    assert trained and evaluated and not trained & evaluated
