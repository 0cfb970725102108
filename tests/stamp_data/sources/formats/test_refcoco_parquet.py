"""RefCOCO as Parquet, in the columns of its mirrors on Hugging Face."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from stamp_data.doctor import examine

from ...raw import build, picture, read_set
from ..raw import Json
from .making import CORNERS, HEIGHT, TRIANGLE, WIDTH, Said, polygon_mask, put, refused
from .test_coco_like import polygon, runs

PICTURE = "COCO_train2014_000000000007.jpg"
SENTENCES = pa.list_(
    pa.struct([("raw", pa.string()), ("sent", pa.string()), ("sent_id", pa.int64()), ("tokens", pa.list_(pa.string()))])
)


def write(path: Path, rows: list[Json], **types: pa.DataType) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    fields = [field.with_type(types[field.name]) if field.name in types else field for field in table.schema]
    pq.write_table(table.cast(pa.schema(fields)), path)
    return path


def jxu124(ref: int, texts: list[str], segmentation: Any, split: str = "train", **other: Any) -> Json:
    annotation = {
        "id": 100 + ref,
        "image_id": 7,
        "category_id": 1,
        "segmentation": segmentation,
        "iscrowd": 0,
        "area": 1.0,
    }
    info = {"id": 7, "file_name": PICTURE, "width": WIDTH, "height": HEIGHT, "license": 1, "coco_url": "http://x"}
    return {
        "sent_ids": [10 * ref + n for n in range(len(texts))],
        "file_name": PICTURE.replace(".jpg", f"_{ref}.jpg"),
        "ann_id": 100 + ref,
        "ref_id": ref,
        "image_id": 7,
        "split": split,
        "category_id": 1,
        "sentences": [
            {"raw": t.upper(), "sent": t, "sent_id": 10 * ref + n, "tokens": t.split()} for n, t in enumerate(texts)
        ],
        "raw_anns": json.dumps(annotation),
        "raw_image_info": json.dumps(info),
        "image_path": f"coco/train2014/{PICTURE}",
        "bbox": [1.0, 1.0, 2.0, 2.0],
        **other,
    }


def lmms(number: int, texts: list[str], flat: list[float]) -> Json:
    return {
        "question_id": str(number),
        "image": {"bytes": b"not read", "path": None},
        "question": "Describe it.",
        "answer": texts,
        "segmentation": flat,
        "bbox": [1.0, 1.0, 2.0, 2.0],
        "iscrowd": 0,
        "file_name": PICTURE.replace(".jpg", f"_{number}.jpg"),
    }


def test_jxu124_is_refcoco(tmp_path: Path) -> None:
    """The same requests and masks as REFER's own files; two references that share a sentence stay two."""
    rows = [
        jxu124(0, ["left car", "the car"], polygon(CORNERS)),
        jxu124(1, ["the car"], runs(TRIANGLE)),
        jxu124(2, ["cup"], polygon(TRIANGLE), "testA"),
    ]
    root = tmp_path / "data"
    put(root, f"train2014/{PICTURE}")
    write(root / "data/train-00000-of-00001-1f.parquet", rows)
    made = {
        one.manifest.settings.split: read_set(one.folder) for one in build(root, tmp_path / "out", "refcoco_parquet")
    }
    refs = [{key: row[key] for key in ("ann_id", "ref_id", "image_id", "split", "sentences")} for row in rows]
    held = {
        "images": [json.loads(rows[0]["raw_image_info"])],
        "annotations": [json.loads(row["raw_anns"]) for row in rows],
        "categories": [],
    }
    (root / "refer_seg/refcoco").mkdir(parents=True)
    (root / "refer_seg/refcoco/instances.json").write_text(json.dumps(held))
    (root / "refer_seg/refcoco/refs(unc).p").write_bytes(pickle.dumps(refs, protocol=0))
    for one in build(root, tmp_path / "refer", "refcoco"):
        (wanted,), _ = read_set(one.folder)
        (found,), rejects = made[one.manifest.settings.split]
        assert not rejects and found.record.source.image_id == 7

        def asked(record: Any) -> list[Any]:
            return [(d.expression, [record.targets[place].rle for place in d.targets]) for d in record.dialogues]

        assert asked(found.record) == asked(wanted.record)


def test_lmms_lab_and_moondream(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, f"images/{PICTURE}")
    (flat,) = polygon(CORNERS)
    write(root / "lmms/data/testA-00000-of-00001.parquet", [lmms(1, ["the car", "left"], flat)])
    sample = {
        "id": 3,
        "image_id": 7,
        "category": "cup",
        "label": "cup",
        "sentences": ["a cup"],
        "bbox": [1.0],
        "mask": runs(TRIANGLE),
    }
    row = {"image": {"bytes": b"not read", "path": None}, "image_id": 7, "file_name": PICTURE, "samples": [sample]}
    write(root / "moon/data/validation-00000-of-00001.parquet", [row])
    found = Said(root, tmp_path / "out", "refcoco_parquet")
    assert sorted((split, phrase) for split, _, phrase in found.masks) == [
        ("testA", "left"),
        ("testA", "the car"),
        ("val", "a cup"),
    ]
    assert np.array_equal(found.mask("left"), polygon_mask(CORNERS)) and not found.rows
    assert np.array_equal(found.mask("a cup"), polygon_mask(TRIANGLE))


def test_pictures_within_the_files(tmp_path: Path) -> None:
    """In several groups of rows; a picture that lies beside comes first, one that is none is told."""
    (flat,) = polygon(CORNERS)
    shades = [20 * number for number in range(9)]
    rows = []
    for number, shade in enumerate(shades):
        image = {"bytes": picture((WIDTH, HEIGHT), shade=shade, form="PNG"), "path": None}
        rows.append(lmms(number, [f"thing {number}"], flat) | {"file_name": f"{number}.png", "image": image})
    rows[7]["image"]["bytes"] = b"none"
    rows[8]["image"] = None
    path = tmp_path / "data/val-00000-of-00001.parquet"
    path.parent.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco/5.png").write_bytes(picture((WIDTH, HEIGHT), shade=250, form="PNG"))
    for images in ((), (tmp_path / "coco",)):
        (one,) = build(
            tmp_path / "data", tmp_path / f"out{len(images)}", "refcoco_parquet", images=images, shard_records=4
        )
        records, rejects = read_set(one.folder)
        found = {}
        for loaded in records:
            assert loaded.record.image is not None and loaded.image is not None
            with Image.open(io.BytesIO(loaded.image)) as opened:
                found[loaded.record.image.file_name] = opened.getpixel((3, 3))[0]
        wanted = {f"{number}.png": 250 if number == 5 and images else shades[number] for number in range(7)}
        assert {name: shade - found[name] for name, shade in wanted.items()} == dict.fromkeys(wanted, 0)
        assert [(row.reason, row.expressions) for row in rejects] == [("not-a-picture", 1), ("picture-broken", 1)]


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, PICTURE)
    away = json.dumps({"file_name": "../a.jpg", "width": WIDTH, "height": HEIGHT})
    rows = [
        jxu124(0, ["good"], polygon(CORNERS)),
        jxu124(1, ["bad"], "x"),
        jxu124(2, ["away"], polygon(CORNERS), raw_image_info=away),
        jxu124(3, ["json"], polygon(CORNERS), raw_anns="{"),
        jxu124(4, [""], polygon(CORNERS)),
        jxu124(5, ["none"], polygon(CORNERS), sentences=None),
        jxu124(6, ["small"], polygon(CORNERS[:2])),
    ]
    write(root / "train.parquet", rows, sentences=SENTENCES)
    found = Said(root, tmp_path / "out", "refcoco_parquet")
    assert found.phrases == ["good"]
    told = dict(found.reasons)
    assert [told[f"row {number}"] for number in (1, 2, 3, 4, 5)] == [
        "bad-segmentation",
        "path-escape",
        "bad-annotation",
        "empty-text",
        "bad-reference",
    ]
    assert told["row 6"] == "target-refused"


@pytest.mark.parametrize("cut", [0, 4, 100, -3])
def test_a_file_that_is_none_ends_in_one_line(cut: int, tmp_path: Path) -> None:
    path = write(tmp_path / "train.parquet", [jxu124(0, ["it"], polygon(CORNERS))])
    path.write_bytes(path.read_bytes()[:cut])
    with refused("Parquet"):
        Said(path, tmp_path / "out", "refcoco_parquet")


def test_texts_that_are_no_utf_8_end_in_one_line(tmp_path: Path) -> None:
    """Arrow reads them, and fails where they are looked at."""
    path = tmp_path / "train.parquet"
    rows = pa.Table.from_pylist([jxu124(0, ["unmistakable"], polygon(CORNERS))])
    pq.write_table(rows, path, compression="none", use_dictionary=False)
    path.write_bytes(path.read_bytes().replace(b"unmistakable", b"unmist\xb4kable"))
    with refused("Parquet is damaged"):
        Said(path, tmp_path / "out", "refcoco_parquet")


def test_columns_whose_names_are_no_utf_8_end_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    rows = pa.Table.from_pylist([{"unmistakable": 1}])
    pq.write_table(rows, path, compression="none", store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"unmistakable", b"unmist\xb4kable"))
    with refused("no readable Parquet"):
        Said(path, tmp_path / "out", "refcoco_parquet")


def test_a_damaged_file_beside_others_is_told(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, PICTURE)
    whole = write(root / "data/train-00000-of-00002.parquet", [jxu124(0, ["it"], polygon(CORNERS))])
    (root / "data/train-00001-of-00002.parquet").write_bytes(whole.read_bytes()[:-9])
    (root / "data/train-00002-of-00002.parquet").touch()
    found = Said(root, tmp_path / "out", "refcoco_parquet")
    assert found.phrases == ["it"] and [row.reason for row in found.rows] == ["unreadable-file"] * 2


def test_other_columns_are_refused(tmp_path: Path) -> None:
    with refused("none of a known layout"):
        Said(write(tmp_path / "train.parquet", [{"a": 1}]), tmp_path / "out", "refcoco_parquet")


def test_the_doctor_examines_it(tmp_path: Path) -> None:
    put(tmp_path, f"train2014/{PICTURE}")
    write(tmp_path / "train.parquet", [jxu124(0, ["it"], polygon(CORNERS))])
    (report,) = [one for one in examine(tmp_path).datasets if one.splits]
    assert (report.dataset, report.state, report.splits[0].opened) == ("refcoco_parquet", "ready", 1)
    assert not report.splits[0].findings
