"""Raw sets of any size in REFER's format, for the benchmarks: real file layout, made-up content."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 640, 480
PICTURE_KINDS = 64  # distinct pictures; each file still gets a comment of its own, so that no two have the same bytes
COLOURS = ("red", "blue", "green", "white", "black", "yellow", "striped", "dark")
THINGS = ("man", "woman", "zebra", "umbrella", "chair", "truck", "sandwich", "laptop", "horse", "bottle")
PLACES = ("on the left", "in the back", "near the window", "closest to us", "holding a bag", "second from the right")


def make_refer(
    root: Path, *, name: str, images: int, targets: int, expressions: int, annotations: int = 0, train: int = 0
) -> None:
    """Write `root/refer_seg/<name>` and its pictures.

    images: pictures of 640×480; each has `targets` referred objects with `expressions` sentences each. annotations: in
    all, the rest unreferred (COCO annotates more than is referred to); 0 for none. train: this many images are split
    `train`, one is `testA`, the others are `val`; 0 for all `train`.
    """
    rng = np.random.default_rng(0)
    folder, pictures = root / "refer_seg" / name, root / "refer_seg/images/coco_2014/train2014"
    folder.mkdir(parents=True)
    pictures.mkdir(parents=True, exist_ok=True)
    _write_pictures(pictures, images, rng)
    per_image = max(targets, annotations // images)
    image_rows = [
        {"file_name": f"COCO_train2014_{i + 1:012d}.jpg", "height": HEIGHT, "width": WIDTH, "id": i + 1, "license": 1}
        for i in range(images)
    ]
    annotation_rows, refs = [], []
    for image in range(1, images + 1):
        for place in range(per_image):
            number = len(annotation_rows) + 1
            annotation_rows.append(_annotation(number, image, rng))
            if place < targets:
                split = "train" if not train or image <= train else "testA" if image == train + 1 else "val"
                refs.append(_ref(len(refs), number, image, expressions, split, rng))
    categories = [{"supercategory": "thing", "id": i + 1, "name": thing} for i, thing in enumerate(THINGS)]
    instances = {
        "info": {},
        "images": image_rows,
        "licenses": [],
        "annotations": annotation_rows,
        "categories": categories,
    }
    (folder / "instances.json").write_text(json.dumps(instances))
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=0))


def _write_pictures(folder: Path, count: int, rng: np.random.Generator) -> None:
    kinds = [_picture(rng) for _ in range(min(count, PICTURE_KINDS))]
    for number in range(count):
        jpeg = kinds[number % len(kinds)]
        comment = b"\xff\xfe" + (10).to_bytes(2, "big") + b"%08d" % number
        (folder / f"COCO_train2014_{number + 1:012d}.jpg").write_bytes(jpeg[:2] + comment + jpeg[2:])


def _picture(rng: np.random.Generator) -> bytes:
    """A JPEG of about COCO's size in bytes: smooth patches with some grain."""
    smooth = Image.fromarray(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)).resize(
        (WIDTH, HEIGHT), Image.Resampling.BICUBIC
    )
    grain = rng.normal(0, 7, (HEIGHT, WIDTH, 3))
    buffer = io.BytesIO()
    Image.fromarray((np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _annotation(number: int, image: int, rng: np.random.Generator) -> dict[str, object]:
    """A blob of 12 to 40 corners, about as large as COCO's objects."""
    corners = int(rng.integers(12, 41))
    radius = rng.uniform(20, 140)
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    reach = radius * rng.uniform(0.6, 1.0, corners)
    x = (rng.uniform(60, WIDTH - 60) + reach * np.cos(angles)).clip(0, WIDTH).round(2)
    y = (rng.uniform(60, HEIGHT - 60) + reach * np.sin(angles)).clip(0, HEIGHT).round(2)
    box = [float(x.min()), float(y.min()), float(np.ptp(x)), float(np.ptp(y))]
    return {
        "segmentation": [np.stack([x, y], 1).ravel().tolist()],
        "area": float(np.ptp(x) * np.ptp(y) * 0.6),
        "iscrowd": 0,
        "image_id": image,
        "bbox": box,
        "category_id": number % len(THINGS) + 1,
        "id": number,
    }


def _ref(
    number: int, annotation: int, image: int, expressions: int, split: str, rng: np.random.Generator
) -> dict[str, object]:
    sentences = []
    for place in range(expressions):
        sent = f"{rng.choice(COLOURS)} {rng.choice(THINGS)} {rng.choice(PLACES)}"
        sentences.append({"tokens": sent.split(), "raw": sent, "sent_id": number * expressions + place, "sent": sent})
    return {
        "sent_ids": [sentence["sent_id"] for sentence in sentences],
        "file_name": f"COCO_train2014_{image:012d}_{annotation}.jpg",
        "ann_id": annotation,
        "ref_id": number,
        "image_id": image,
        "split": split,
        "sentences": sentences,
        "category_id": annotation % len(THINGS) + 1,
    }
