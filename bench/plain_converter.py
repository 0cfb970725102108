"""The rival of bench/build.py: a plain script that does the work of the published converter, and no more.

The list of images is doubled; each worker loads the annotations for itself; every reference of an image is drawn as one
full-size PNG mask, every sentence becomes one JSON item with a question and an answer drawn at random; pictures are never
opened. Run as `python bench/plain_converter.py ROOT NAME OUT PROCESSES`.
"""

from __future__ import annotations

import json
import multiprocessing
import pickle
import random
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

QUESTIONS = [
    "Please segment only the {} in the image.",
    "Can you segment the {} in the image?",
    "Where is the {} in this picture? Please respond with segmentation mask.",
    "Where is '{}' in this image? Please output segmentation mask.",
    "Could you provide the segmentation mask for '{}' in this image?",
    "Please segment the image and highlight '{}'.",
]
ANSWERS = [
    "Sure, here is the segmentation mask for {}:",
    "Here is the segmentation mask focusing on the {}:",
    "The segmentation map for {} is:",
    "The segmentation mask for {} is shown below:",
]
STATE: dict[str, Any] = {}


def load(root: Path, name: str, out: Path) -> None:
    folder = root / "refer_seg" / name
    instances = json.loads((folder / "instances.json").read_text(encoding="utf-8"))
    refs = pickle.loads((folder / "refs(unc).p").read_bytes())
    by_image: dict[int, list[Any]] = {}
    for ref in refs:
        by_image.setdefault(ref["image_id"], []).append(ref)
    STATE.update(
        images={image["id"]: image for image in instances["images"]},
        annotations={annotation["id"]: annotation for annotation in instances["annotations"]},
        refs=by_image,
        pictures=root / "refer_seg/images/coco_2014/train2014",
        masks=out / "masks",
    )


def convert(image_id: int) -> list[dict[str, Any]]:
    image, items = STATE["images"][image_id], []
    path = str(STATE["pictures"] / image["file_name"])
    for ref in STATE["refs"][image_id]:
        polygons = STATE["annotations"][ref["ann_id"]]["segmentation"]
        rles = coco_mask.frPyObjects(polygons, image["height"], image["width"])
        mask = np.sum(coco_mask.decode(rles), axis=2).astype(np.uint8)
        mask_path = STATE["masks"] / f"{uuid.uuid4()}.png"
        Image.fromarray(mask * 255).save(mask_path)
        for sentence in ref["sentences"]:
            question, answer = random.choice(QUESTIONS), random.choice(ANSWERS)
            items.append(
                {
                    "image": path,
                    "mask": str(mask_path),
                    "messages": [
                        {
                            "role": "user",
                            "content": [
                                {"type": "image", "image": path},
                                {"type": "text", "text": question.format(sentence["sent"])},
                            ],
                        },
                        {
                            "role": "assistant",
                            "content": [{"type": "text", "text": answer.format(sentence["sent"]) + " <|seg|>"}],
                        },
                    ],
                }
            )
    return items


def main() -> None:
    root, name, out, processes = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
    (out / "masks").mkdir(parents=True)
    refs = pickle.loads((root / "refer_seg" / name / "refs(unc).p").read_bytes())
    images = sorted({ref["image_id"] for ref in refs if ref["split"] == "train"}) * 2
    with multiprocessing.Pool(processes, load, (root, name, out)) as pool:
        items = [item for part in pool.imap_unordered(convert, images, chunksize=16) for item in part]
    (out / "items.json").write_text(json.dumps(items, indent=2))
    print(len(items))


if __name__ == "__main__":
    main()
