"""Small raw datasets, written in the formats that the sources read."""

from __future__ import annotations

import base64
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from stamp_data.shards.rejects import RejectLog
from stamp_data.sources import Reading, open_source
from stamp_data.sources.base import AS_USUAL
from stamp_schemas import Annotation, Reject

Json = dict[str, Any]
SQUARE = [[10.0, 10.0, 20.0, 10.0, 20.0, 20.0, 10.0, 20.0]]


def write_json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def image(number: int, **other: object) -> Json:
    return {"id": number, "file_name": f"COCO_train2014_{number:012d}.jpg", "width": 64, "height": 48, **other}


def annotation(number: int, image_id: int, **other: object) -> Json:
    return {"id": number, "image_id": image_id, "category_id": 1, "segmentation": SQUARE, "iscrowd": 0, **other}


def sentence(number: int, text: object) -> Json:
    return {"sent_id": number, "sent": text, "raw": text, "tokens": str(text).split()}


def ref(number: int, ann_id: object, image_id: int, texts: list[Any], split: str = "train", **other: object) -> Json:
    sentences = [sentence(10 * number + k, text) for k, text in enumerate(texts)]
    file_name = f"COCO_train2014_{image_id:012d}_{ann_id}.jpg"
    return {
        "ref_id": number, "ann_id": ann_id, "image_id": image_id, "category_id": 1, "split": split,
        "file_name": file_name, "sent_ids": [s["sent_id"] for s in sentences], "sentences": sentences, **other,
    }  # fmt: skip


def instances(images: list[Json], annotations: list[Json]) -> Json:
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cup"}]}


def two_images() -> Json:
    return instances([image(1), image(2)], [annotation(11, 1), annotation(12, 1), annotation(21, 2)])


def some_refs() -> list[Json]:
    return [
        ref(0, 11, 1, ["left cup", "the red one"]),
        ref(1, 12, 1, ["right cup"]),
        ref(2, 21, 2, ["a cup"], "val"),
        ref(3, 11, 1, ["cup on the left"], "testA"),
    ]


def write_refer(
    root: Path, refs: list[Any], held: Json, name: str = "refcoco", split_by: str = "unc", protocol: int = 0
) -> Path:
    folder = root / "refer_seg" / name
    write_json(folder / "instances.json", held)
    (folder / f"refs({split_by}).p").write_bytes(pickle.dumps(refs, protocol=protocol))
    return root


def write_grefcoco(root: Path, refs: list[Any], held: Json) -> Path:
    folder = root / "refer_seg" / "grefcoco"
    write_json(folder / "instances.json", held)
    write_json(folder / "grefs(unc).json", refs)
    return root


def shape(label: str, points: list[list[float]] | None = None, **other: object) -> Json:
    corners = points or [[1.0, 1.0], [9.0, 1.0], [9.0, 9.0]]
    return {"label": label, "labels": [label], "shape_type": "polygon", "points": corners, **other}


def reasoning(texts: list[Any], shapes: list[Any], is_sentence: object = True) -> Json:
    return {"text": texts, "is_sentence": is_sentence, "shapes": shapes}


def base64_png(mask: npt.NDArray[np.uint8]) -> str:
    """A mask as labelme embeds it."""
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def talk(*values: str) -> list[Json]:
    return [{"from": ("human", "gpt")[k % 2], "value": value} for k, value in enumerate(values)]


def read(
    name: str, root: Path, split: str = "train", split_by: str = "", reading: Reading = AS_USUAL
) -> tuple[list[Annotation], list[Reject]]:
    """Everything a source says about one split."""
    source = open_source(name, root, split_by, reading)
    source.load()
    rejects = RejectLog()
    return list(source.annotations(split, rejects)), rejects.rows


def reasons(rows: list[Reject]) -> list[tuple[str, int]]:
    """Reason and lost expressions of every row, sorted."""
    return sorted((row.reason, row.expressions) for row in rows)
