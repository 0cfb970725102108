"""Formats of other tools are named, with the way to build them, whatever they are taken for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stamp_data.sources.foreign import FORMATS, by_key, recognise
from stamp_data.sources.rows import TELLING
from stamp_schemas import StampError

from ..raw import build, picture
from .raw import annotation, image, instances, two_images, write_json

PNG = b"\x89PNG\r\n"
COCO_IMAGE = {"id": 1, "width": 64, "height": 48}

# Name -> files of a small folder in that format: a value is written as JSON, bytes as they are.
FOLDERS: dict[str, dict[str, Any]] = {
    "YOLO": {"images/train/a.jpg": PNG, "labels/train/a.txt": b"0 0.1 0.1 0.2 0.2 0.3 0.1\n", "data.yaml": b"names: [a]"},
    "YOLO ": {"train/images/a.jpg": PNG, "train/labels/a.txt": b"0 0.1 0.1 0.2 0.2 0.3 0.1\n", "data.yaml": b"names: [a]"},
    "Pascal VOC": {"JPEGImages/a.jpg": PNG, "Annotations/a.xml": b"<annotation/>", "ImageSets/Segmentation/train.txt": b"a"},
    "Pascal VOC ": {"a.jpg": PNG, "a.xml": b"<annotation><filename>a.jpg</filename></annotation>"},
    "CVAT XML": {"annotations.xml": b'<?xml version="1.0"?>\n<annotations><image id="0"/></annotations>', "images/a.jpg": PNG},
    "Label Studio JSON": {"export.json": [{"id": 1, "data": {"image": "a"}, "annotations": [{"result": [{"type": "x"}]}]}]},
    "Label Studio JSON ": {"p.json": [{"data": {"image": "a"}, "completions": [{"result": []}]}]},
    "VIA": {"via_region_data.json": {"a.jpg12": {"filename": "a.jpg", "regions": [{"shape_attributes": {"name": "polygon"}}]}}},
    "VIA ": {"p.json": {"_via_img_metadata": {"a.jpg1": {"regions": {"0": {"shape_attributes": {}}}}}, "_via_settings": {}}},
    "LVIS": {
        "annotations/lvis_v1_train.json": {
            "images": [{**COCO_IMAGE, "coco_url": "http://x/train2017/a.jpg", "neg_category_ids": [], "not_exhaustive": []}],
            "categories": [{"id": 1, "name": "dog", "synset": "dog.n.01", "synonyms": ["dog"]}],
            "annotations": [annotation(1, 1)],
        }
    },
    "YOLO, beside": {"a.jpg": PNG, "a.txt": b"0 .1 .1 .2 .2", "classes.txt": b"dog"},
    "Pascal VOC, devkit": {"VOCdevkit/VOC2012/JPEGImages/a.jpg": PNG, "VOCdevkit/VOC2012/Annotations/a.xml": b"<annotation/>"},
    "VIA, nothing drawn": {"p.json": {"_via_img_metadata": {}, "_via_settings": {}}},
    "Label Studio JSON-MIN": {"p.json": [{"image": "a", "label": [{"points": [[1, 2]], "polygonlabels": ["x"]}]}]},
    "CreateML JSON": {"p.json": [{"image": "a.jpg", "annotations": [{"label": "x", "coordinates": {"x": 1}}]}]},
    "masks as PNG, beside": {"images/a.jpg": PNG, "labels/a.png": PNG},
    "masks as PNG, VOC's": {"img/a.jpg": PNG, "SegmentationClass/a.png": PNG},
    "masks as PNG, deeper": {"train/image/a.jpg": PNG, "train/gt/a.png": PNG},
    "archives": {"annotations_trainval2017.zip": b"PK"},
    "CSV": {"boxes.csv": b"file,phrase"},
    "SA-1B": {"sa_1.jpg": PNG, "sa_1.json": {"image": {"image_id": 1}, "annotations": [{"id": 5, "segmentation": {}}]}},
    "Parquet": {"data/train-00000-of-00001.parquet": b"PAR1\0\0PAR1"},
    "Arrow files": {"train/data-00000-of-00001.arrow": b"ARROW1"},
    "masks as PNG": {"images/a.jpg": PNG, "masks/a.png": PNG},
    "masks as PNG ": {"JPEG/a.jpg": PNG, "train_masks/0/a.png": PNG},
    "COCO panoptic": {
        "annotations/panoptic_val2017.json": {
            "images": [{**COCO_IMAGE, "file_name": "a.jpg"}],
            "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": [{"id": 7, "category_id": 1}]}],
        }
    },
    "COCO captions": {
        "annotations/captions_val2017.json": {
            "images": [{**COCO_IMAGE, "file_name": "a.jpg"}],
            "annotations": [{"id": 1, "image_id": 1, "caption": "two blocks"}],
        }
    },
    "stamp-data annotate": {"a.jpg.json": {"schema": "stamp.annotations/1", "image": {}, "phrases": [], "masks": []}},
    "SetCon": {"train.jsonl": [{"image": "a.jpg", "text": "red", "masks": [], "segments": [{"label": "x", "mask_ids": []}]}]},
    "Sa2VA JSON": {"train.json": [{"image": "a.jpg", "mask": [[[1, 2, 3, 4, 5, 6]]], "text": ["red"]}]},
    "Visual Genome": {"region_descriptions.json": [{"id": 1, "regions": [{"region_id": 1, "phrase": "red", "x": 1}]}]},
    "PhraseCut": {"refer_train.json": [{"task_id": "1", "phrase": "red", "Polygons": [[[[1, 2], [3, 4], [5, 6]]]]}]},
    "ADE20K": {"images/training/ADE_train_1.jpg": PNG, "annotations/training/ADE_train_1.png": PNG},
    "COCO-Stuff's PNGs": {"train2017/a.jpg": PNG, "stuffthingmaps/train2017/a.png": PNG},
    "a set in REFER's format": {"refer_seg/rrsisd/refs(unc).p": b"].", "refer_seg/rrsisd/instances.json": {}},
    "a set in REFER's format ": {"refer_seg/rrsisd/refs(unc).p": b"].", "refer_seg/rrsisd/instances.json": two_images()},
    "references of REFER as JSON": {"refer_seg/rrsisd/refs(unc).json": [], "refer_seg/rrsisd/instances.json": two_images()},
    "Google's refexp JSON": {"google_refexp_train.json": {"images": {}, "annotations": {}, "refexps": {}, "categories": []}},
    "conversations as LLaVA has them": {"mine.json": [{"id": "1", "conversations": [{"from": "human", "value": "hi"}]}]},
    "labelme": {"a.jpg": PNG, "a.json": {"shapes": [], "imagePath": "a.jpg"}},
    "SA-Co (SAM 3)": {"annotations/gold.json": instances([image(1, text_input="a dog")], [annotation(1, 1)])},
    "SA-Co (SAM 3) ": {"annotations/gold.json": instances([image(1)], [annotation(1, 1, noun_phrase="a dog")])},
    "MDETR's grounding JSON": {"mine/instances.json": instances([image(1)], [annotation(1, 1, tokens_positive=[[0, 2]])])},
    "PACO": {"annotations/paco.json": instances([image(1)], [annotation(1, 1), annotation(2, 1, obj_ann_id=1)])},
}  # fmt: skip


def called(name: str) -> str:
    """What a format is called; what is behind a comma tells several layouts of it apart."""
    return name.partition(",")[0].strip()


def write(root: Path, files: dict[str, Any]) -> Path:
    for name, value in files.items():
        path = root / name
        if isinstance(value, bytes):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(value)
        else:
            write_json(path, value)
    return root


def refusal(root: Path, out: Path, dataset: str = "coco") -> StampError:
    with pytest.raises(StampError) as caught:
        build(root, out, dataset)
    assert "\n" not in str(caught.value) and "download it again" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_named_with_the_way_to_build_it(name: str, tmp_path: Path) -> None:
    root = write(tmp_path / "data", FOLDERS[name])
    root = root / "mine" if (root / "mine").is_dir() else root
    fault = refusal(root, tmp_path / "out")
    assert f"this is {called(name)}" in fault.message
    assert any(fault.hint == form.way.replace("NAME", "rrsisd") for form in FORMATS if form.name == called(name))


@pytest.mark.parametrize(
    "name",
    [name for name, files in FOLDERS.items() if any(path.endswith((".json", ".xml", ".parquet")) for path in files)],
)
def test_so_is_the_file_itself(name: str, tmp_path: Path) -> None:
    if "REFER" in name:
        pytest.skip("the folder makes it one")
    root = write(tmp_path / "data", FOLDERS[name])
    file = next(path for path in sorted(root.rglob("*")) if path.suffix in (".json", ".xml", ".parquet"))
    assert f"this is {called(name)}" in refusal(file, tmp_path / "out").message


def test_coco_is_named_where_it_is_taken_for_something_else(tmp_path: Path) -> None:
    path = write_json(tmp_path / "mine/a.json", instances([image(1)], [annotation(1, 1)]))
    assert "COCO instances JSON" in refusal(path.parent, tmp_path / "out", "labelme").message
    assert "COCO instances JSON" in refusal(path, tmp_path / "out2", "llava").message


def test_what_can_be_read_is_not_kept_from_it(tmp_path: Path) -> None:
    """LVIS with names of files, and COCO beside masks, labels and tables."""
    entry = {**annotation(1, 1), "phrase": "unread", "expression": "a cup"}
    held = instances([image(1, file_name="a.jpg", neg_category_ids=[])], [entry])
    held["categories"][0] |= {"synset": "cup.n.01", "synonyms": ["cup"]}
    files = {
        "annotations/lvis_v1_train.json": held,
        "a.jpg": picture(),
        "masks/a.png": PNG,
        "labels/a.txt": b"",
        "a.parquet": b"",
    }
    (built,) = build(write(tmp_path / "data", files), tmp_path / "out", "coco")
    assert built.manifest.totals.dialogues == 1


def test_a_coco_set_of_which_nothing_can_be_used_is_not_called_foreign(tmp_path: Path) -> None:
    held = instances([image(1)], [annotation(1, 1, segmentation=None)])
    fault = refusal(write(tmp_path / "data", {"annotations/a.json": held, "masks/a.png": PNG}), tmp_path / "out")
    assert "this is" not in fault.message and "bad-segmentation 1" in fault.message


@pytest.mark.parametrize("key", TELLING)
def test_keys_that_decide_the_meaning_are_refused_by_name(key: str, tmp_path: Path) -> None:
    """Unless the annotation bears a phrase that is read."""
    file = tmp_path / "data/mine.json"
    write_json(file, instances([image(1)], [annotation(1, 1), annotation(2, 1, **{key: "a dog"})]))
    fault = refusal(file, tmp_path / "out")
    assert f"`{key}`" in fault.message and fault.hint == by_key(key).way and "expression" in fault.hint


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[" * 5000, b'{"a": ' * 50, b"\xff\xfe", b"[1, 2]", b'{"shapes": 3', b"null"]
)
def test_a_file_of_no_known_kind_is_none(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(data)
    assert recognise(tmp_path) is None and recognise(tmp_path / "a.json") is None


def test_large_and_odd_files_are_looked_at_in_bounds(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([[[[[[[[{"shape_attributes": 1}]]]]]]]]))
    (tmp_path / "b.xml").mkdir()
    assert recognise(tmp_path) is None
