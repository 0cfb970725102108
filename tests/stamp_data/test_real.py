"""Real records of the public sets: every mask is pycocotools' own, and every trap that they hold is handled or told of."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from stamp_data.shards.reader import Loaded
from stamp_schemas import RLE, Reject, StampError

from .raw import PICTURES, build, read_set, reasons

pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of pycocotools

Mask = npt.NDArray[np.uint8]
DEFAULT_GRID = {"min_tokens": 1024, "max_tokens": 1280}


def pixels(rle: RLE) -> Mask:
    mask: Mask = coco_mask.decode({"size": list(rle.size), "counts": rle.counts.encode()})
    return mask


def reference(segmentation: Any, height: int, width: int) -> Mask:
    """The mask as pycocotools' own COCO class makes it of a segmentation of any of the three kinds."""
    if isinstance(segmentation, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        rle = coco_mask.frPyObjects(segmentation, height, width)
    else:
        rle = segmentation
    mask: Mask = coco_mask.decode(rle)
    return mask


def built(root: Path, out: Path, name: str, **options: Any) -> tuple[dict[str, list[Loaded]], list[Reject]]:
    """Records by split, and all rejects."""
    sets = {one.manifest.settings.split: read_set(one.folder) for one in build(root, out, name, **options)}
    return {split: records for split, (records, _) in sets.items()}, [row for _, rows in sets.values() for row in rows]


REFER = [
    ("refcoco", "unc", {"train": 2, "testA": 2}, 11),
    ("refcoco", "google", {"train": 2, "test": 2, "val": 1}, 14),
    ("refcoco+", "unc", {"train": 2, "testA": 2}, 12),
    ("refcocog", "umd", {"train": 2, "test": 2}, 8),
    ("refcocog", "google", {"train": 2, "val": 2}, 8),
]


@pytest.mark.parametrize(("name", "split_by", "refs", "sentences"), REFER)
def test_refer_masks_and_expressions_are_those_of_the_files(
    name: str, split_by: str, refs: dict[str, int], sentences: int, real_data: Path, tmp_path: Path
) -> None:
    folder = real_data / "refer_seg" / name
    rows = pickle.loads((folder / f"refs({split_by}).p").read_bytes(), encoding="latin-1")  # the project's own fixture
    instances = json.loads((folder / "instances.json").read_text(encoding="utf-8"))
    segmentations = {str(row["id"]): row["segmentation"] for row in instances["annotations"]}
    splits, rejects = built(real_data, tmp_path, name, split_by=split_by, **DEFAULT_GRID)
    assert rejects == []
    assert {split: sum(len(one.record.targets) for one in records) for split, records in splits.items()} == {
        split: len({ref["ann_id"] for ref in rows if ref["split"] == split}) for split in refs
    }
    said = sorted(
        one.expression for records in splits.values() for loaded in records for one in loaded.record.dialogues
    )
    assert said == sorted(" ".join(sentence["sent"].split()) for ref in rows for sentence in ref["sentences"])
    assert len(said) == sentences
    for loaded in (loaded for records in splits.values() for loaded in records):
        picture = loaded.record.image
        assert picture is not None
        for target in loaded.record.targets:
            assert (pixels(target.rle) == reference(segmentations[target.id], picture.height, picture.width)).all()


def test_picture_as_shipped_disagrees_in_size_and_is_refused(real_data: Path, tmp_path: Path) -> None:
    """Of the two placeholders one is replaced by that of its first home, which has another size than is annotated."""
    root, folder = tmp_path / "data", real_data / "refer_seg/refcoco"
    shutil.copytree(real_data / PICTURES, root / PICTURES)
    (root / "refer_seg/refcoco").mkdir()
    shutil.copy(folder / "instances.json", root / "refer_seg/refcoco")
    refs = pickle.loads((folder / "refs(unc).p").read_bytes(), encoding="latin-1")
    rows = [{**ref, "split": "train"} for ref in refs]
    (root / "refer_seg/refcoco/refs(unc).p").write_bytes(pickle.dumps(rows, protocol=0))
    shipped = real_data / "refer_seg/tfds_source/coco_train2014_as_shipped/COCO_train2014_000000460986.jpg"
    shutil.copy(shipped, root / PICTURES)
    splits, (row,) = built(root, tmp_path / "out", "refcoco")
    assert [loaded.record.source.image_id for loaded in splits["train"]] == [495169]
    assert row.reason == "size-mismatch"
    assert row.file == f"{PICTURES}/COCO_train2014_000000460986.jpg"
    with Image.open(shipped) as image:
        assert f"{image.width}×{image.height}" in row.detail
    assert row.expressions == sum(len(ref["sentences"]) for ref in refs if ref["image_id"] == 460986)


def test_rendered_set_with_id_zero_deep_png_and_crossing_polygons(real_data: Path, tmp_path: Path) -> None:
    """16-bit RGBA PNG, id 0 for image, annotation and reference, an extra key, a polygon that crosses itself."""
    source = real_data / "refer_seg/refcoco_3ds"
    splits, rejects = built(real_data, tmp_path / "out", "refer", own_name="refcoco_3ds")
    assert rejects == []
    records = splits["train"]
    assert {loaded.record.source.image_id for loaded in records} == {"0", "3"}
    assert {loaded.row.image_extension for loaded in records} == {"png"}
    assert sum(len(loaded.record.dialogues) for loaded in records) == 197
    segmentations = {
        str(row["id"]): row
        for row in json.loads((source / "instances.json").read_text(encoding="utf-8"))["annotations"]
    }
    targets = {target.id: target for loaded in records for target in loaded.record.targets}
    assert len(targets) == 29
    assert targets["14"].area == 1618
    for name, target in targets.items():
        assert (pixels(target.rle) == reference(segmentations[name]["segmentation"], 480, 640)).all()
    originals = {path.read_bytes() for path in (real_data / "refer_seg/images/refcoco_3ds").iterdir()}
    assert {loaded.image for loaded in records} == originals


@pytest.fixture(scope="module")
def reasoned(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the real ReasonSeg files with blank pictures that are large enough for their points."""
    root = tmp_path_factory.mktemp("reason_seg")
    shutil.copytree(real_data / "reason_seg", root / "reason_seg")
    for path in (root / "reason_seg").rglob("*_o.json"):
        points = [
            point for shape in json.loads(path.read_text(encoding="utf-8"))["shapes"] for point in shape["points"]
        ]
        size = (int(max(x for x, _ in points)) + 40, int(max(y for _, y in points)) + 40)
        Image.new("L", size, 128).save(path.with_suffix(".jpg"))
    return root


def test_reason_seg_regions_are_painted_as_in_the_published_evaluation(reasoned: Path, tmp_path: Path) -> None:
    splits, rejects = built(reasoned, tmp_path, "reason_seg")
    assert rejects == []
    assert {split: len(records) for split, records in splits.items()} == {"train": 3, "val": 2, "test": 1}
    ignored = 0
    for split, records in splits.items():
        for loaded in records:
            stem = str(loaded.record.source.image_id)
            content = json.loads((reasoned / f"reason_seg/ReasonSeg/{split}/{stem}.json").read_text(encoding="utf-8"))
            height, width = loaded.row.height, loaded.row.width
            canvas = np.zeros((height, width), np.uint8)
            shapes = [shape for shape in content["shapes"] if shape["label"] != "flag"]
            masks = [(reference([np.ravel(one["points"]).tolist()], height, width), one["label"]) for one in shapes]
            for mask, label in sorted(masks, key=lambda pair: -int(pair[0].sum())):
                canvas[mask != 0] = 255 if label == "ignore" else 1
            (target,) = loaded.record.targets
            assert (pixels(target.rle) == (canvas == 1)).all()
            assert (target.ignore_rle is not None) == bool((canvas == 255).any())
            if target.ignore_rle is not None:
                assert (pixels(target.ignore_rle) == (canvas == 255)).all()
                ignored += 1
            texts = [" ".join(text.split()) for text in content["text"]]
            assert [one.expression for one in loaded.record.dialogues][: len(texts)] == texts
    assert ignored == 1
    explained = [one for loaded in splits["train"] for one in loaded.record.dialogues][-3:]
    entries = json.loads((reasoned / "reason_seg/ReasonSeg/explanatory/train.json").read_text(encoding="utf-8"))
    answers = {" ".join(entry["outputs"].split()) for entry in entries}
    spoken = [
        " ".join(content.text for content in one.messages[1].content)
        for loaded in splits["train"]
        for one in loaded.record.dialogues
    ]
    assert len(explained) == len(entries) == 3
    assert all(any(answer in " ".join(text.split()) for text in spoken) for answer in answers)


def test_all_of_it_at_once(real_data: Path, reasoned: Path, tmp_path: Path) -> None:
    """`build all` over a copy of the records: every set that can be built, every mask pycocotools' own."""
    root = tmp_path / "data"
    shutil.copytree(real_data, root, ignore=shutil.ignore_patterns("models", "qwen2_vl"))
    shutil.copytree(reasoned / "reason_seg", root / "reason_seg", dirs_exist_ok=True)
    sets = {one.manifest.name: one.folder for one in build(root, tmp_path / "out", "all")}
    refer = {f"{name}-{by}/{split}" for name, by, splits, _ in REFER for split in splits}
    refer.add("refcoco_3ds-3ds/train")
    assert set(sets) == refer | {f"reason_seg/{split}" for split in ("train", "val", "test")}
    checked = 0
    for name in refer:
        records, rejects = read_set(sets[name])
        assert rejects == []
        held = json.loads((root / "refer_seg" / name.partition("-")[0] / "instances.json").read_text(encoding="utf-8"))
        segmentations = {str(row["id"]): row["segmentation"] for row in held["annotations"]}
        for loaded in records:
            for target in loaded.record.targets:
                mask = reference(segmentations[target.id], loaded.row.height, loaded.row.width)
                assert (pixels(target.rle) == mask).all()
                checked += 1
    assert checked == sum(sum(refs.values()) for _, _, refs, _ in REFER) + 29 == 50


FOREIGN = [
    ("google_refexp", "Google's refexp JSON", "`stamp-data build refcocog --split-by google`"),
    ("cvat", "CVAT XML", "stamp-data build cvat"),
    ("label_studio", "Label Studio JSON", "stamp-data build label_studio"),
]


@pytest.mark.parametrize("dataset", ["coco", "labelme"])
@pytest.mark.parametrize(("folder", "name", "way"), FOREIGN)
def test_what_other_tools_wrote_is_refused_by_name(
    folder: str, name: str, way: str, dataset: str, real_data: Path, tmp_path: Path
) -> None:
    with pytest.raises(StampError) as fault:
        build(real_data / folder, tmp_path, dataset)
    assert f"this is {name}" in fault.value.message and way in fault.value.hint


def test_reason_seg_without_its_pictures_is_one_line(real_data: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="every record was refused") as fault:
        build(real_data, tmp_path, "reason_seg")
    assert "\n" not in str(fault.value)


LLAVA = [
    ("llava/lmms_finetune/single_image_has_text_only.json", "", 4, 2),
    ("llava/qwen_vl_finetune/demo/single_images.json", "qwen_vl_finetune", 2, 2),
]


@pytest.mark.parametrize(("file", "images", "records", "pictured"), LLAVA)
def test_llava_conversations_keep_all_their_turns(
    file: str, images: str, records: int, pictured: int, real_data: Path, tmp_path: Path
) -> None:
    """Whatever folder its pictures are relative to, it is the root, as with the published set."""
    home = (real_data / file).parent
    home = home.parent if images else home / "images"
    root = tmp_path / "data"
    shutil.copytree(home, root)
    rows = json.loads((real_data / file).read_text(encoding="utf-8"))
    (root / "llava_v1_5_mix665k.json").write_text(json.dumps(rows))
    splits, rejects = built(root, tmp_path / "out", "llava")
    assert rejects == []
    found = splits["train"]
    assert len(found) == len(rows) == records
    assert sum(loaded.image is not None for loaded in found) == pictured
    said = sorted(
        content.text for one in found for message in one.record.dialogues[0].messages for content in message.content
        if content.type == "text"
    )  # fmt: skip
    expected = [turn["value"].replace("<image>", "").strip() for row in rows for turn in row["conversations"]]
    assert said == sorted(expected + [row["system_prompt"] for row in rows if "system_prompt" in row])


def test_llava_record_whose_picture_is_missing_is_told_of(real_data: Path, tmp_path: Path) -> None:
    excerpt = json.loads((real_data / "llava/mix665k_excerpt.json").read_text(encoding="utf-8"))
    rows = excerpt if isinstance(excerpt, list) else [excerpt]
    talk = {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]}
    (tmp_path / "data").mkdir()
    (tmp_path / "data/llava_v1_5_mix665k.json").write_text(json.dumps([*rows, talk]))
    splits, rejects = built(tmp_path / "data", tmp_path / "out", "llava")
    assert len(splits["train"]) == 1
    assert reasons(rejects) == ["picture-missing"]


COCO = [
    ("coco", "annotations/person_keypoints_val2017_subset.json", 9),
    ("coco_rle", "ochuman_subset.json", 3),
    ("coco_crowd_fixture", "annotations/instances_val.json", None),
]


@pytest.mark.parametrize(("folder", "file", "annotations"), COCO)
def test_coco_masks_of_polygons_and_both_kinds_of_rle(
    folder: str, file: str, annotations: int | None, real_data: Path, tmp_path: Path
) -> None:
    content = json.loads((real_data / folder / file).read_text(encoding="utf-8"))
    root = tmp_path / "data"
    shutil.copytree(real_data / folder, root)
    sets = build(root if "annotations" in file else root / file, tmp_path / "out", "coco")
    records = [loaded for one in sets for loaded in read_set(one.folder)[0]]
    rejects = [row for one in sets for row in read_set(one.folder)[1]]
    assert reasons(rejects) == (["crowd-ignored", "crowd-only"] if "crowd" in folder else [])
    rows = {str(row["id"]): row for row in content["annotations"] if not row["iscrowd"]}
    assert len(rows) == (annotations or len(rows))
    seen: list[str] = []
    for loaded in records:
        for target in loaded.record.targets:
            seen += target.instances
            parts = [
                reference(rows[one]["segmentation"], loaded.row.height, loaded.row.width) for one in target.instances
            ]
            assert (pixels(target.rle) == np.max(parts, axis=0)).all()
    assert sorted(seen) == sorted(rows)


def test_labelme_polygons_of_one_label_are_one_target(real_data: Path, tmp_path: Path) -> None:
    splits, rejects = built(real_data / "labelme", tmp_path, "labelme")
    records = {str(loaded.record.source.image_id): loaded for loaded in splits["train"]}
    for stem in ("2011_000003", "2011_000006"):
        content = json.loads((real_data / f"labelme/{stem}.json").read_text(encoding="utf-8"))
        loaded = records[stem]
        named: dict[str, list[Any]] = {}
        for shape in content["shapes"]:
            if shape["label"] != "__ignore__":
                named.setdefault(shape["label"], []).append(np.ravel(shape["points"]).tolist())
        assert {one.expression for one in loaded.record.dialogues} == set(named)
        for one in loaded.record.dialogues:
            target = loaded.record.targets[one.targets[0]]
            mask = reference(named[one.expression], loaded.row.height, loaded.row.width)
            ignored = pixels(target.ignore_rle) if target.ignore_rle else np.zeros_like(mask)
            assert (pixels(target.rle)[ignored == 0] == mask[ignored == 0]).all()
    lines = [row for row in rejects if row.reason == "no-area"]
    assert {row.file for row in lines} == {"primitives.json"}
