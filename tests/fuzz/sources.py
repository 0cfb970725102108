"""Readers of raw datasets: what is read can be stored and read back, and every row gives a known reason."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np

from stamp_data.shards.rejects import RejectLog
from stamp_data.sources import open_source
from stamp_data.sources.faults import REASONS
from stamp_schemas import Annotation, StampError

from ..stamp_data.sources.raw import (
    annotation,
    base64_png,
    image,
    instances,
    reasoning,
    ref,
    shape,
    some_refs,
    talk,
    two_images,
    write_grefcoco,
    write_json,
    write_refer,
)
from .harness import PART, WHOLE, Reader
from .mutations import TEXT

KNOWN = {
    *REASONS,
    "control-token",
    "text-too-long",
}  # the last two of texts, which phrases are held to as early as here


def refer(root: Path, protocol: int) -> None:
    write_refer(root, some_refs(), two_images(), protocol=protocol)


def numpy_refer(root: Path, protocol: int) -> None:
    """Ids straight from numpy, and an array."""
    refs = [
        {**one, "ref_id": np.int64(one["ref_id"]), "boxes": np.ones((2, 4)), "size": (48, 64)} for one in some_refs()
    ]
    write_refer(root, refs, two_images(), protocol=protocol)


def own_coco(root: Path) -> None:
    """What our own export writes: ignored regions, dialogues, expressions of nothing; and numbers as spreadsheets have them."""
    entries = [
        annotation(1, 1, expressions=["left", "right"]),
        annotation(2, 1, ignored_by=1, iscrowd=1, segmentation=[{"size": [48.0, "64"], "counts": [3072]}]),
        {"image_id": 1.0, "no_target": True, "expressions": ["a dog"]},
    ]
    refs = [{"image_id": 1, "ann_ids": ids, "expression": text} for ids, text in (([1], "it"), ([-1], "no"))]
    write_json(root / "annotations/instances_train.json", instances([image(1)], entries) | {"refs": refs})


def grefcoco(root: Path) -> None:
    refs = [ref(0, [11, 12], 1, ["cups"]), ref(1, [-1], 1, ["a dog"], no_target=True), ref(2, [21], 2, ["cup"], "val")]
    write_grefcoco(root, refs, two_images())


def reason_seg(root: Path) -> None:
    shapes = [shape("target"), shape("ignore"), shape("flag")]
    write_json(root / "reason_seg/train/a.json", reasoning(["what?", "which?"], shapes))
    write_json(root / "reason_seg/explanatory/train.json", [{"image": "a.jpg", "query": "why?", "outputs": "because"}])


def llava(root: Path) -> None:
    rows = [
        {"id": "1", "image": "coco/a.jpg", "conversations": talk("<image>\nwhat?", "that"), "system_prompt": "be kind"},
        {"id": 2, "image": ["ocr_vqa/images/b.jpg"], "conversations": talk("what?\n<image>", "that", "why?", "so")},
        {"conversations": talk("what?", "that")},
    ]
    write_json(root / "llava_v1_5_mix665k.json", rows)
    (root / "ocr_vqa/images").mkdir(parents=True)
    (root / "ocr_vqa/images/b.png").touch()


def coco(root: Path) -> None:
    runs = annotation(2, 1, segmentation={"size": [48, 64], "counts": [3000, 72]})
    held = instances([image(1)], [annotation(1, 1), runs, annotation(3, 1, expressions=["left", "right"], caption="c")])
    write_json(root / "annotations/instances_train.json", held)


def labelme(root: Path) -> None:
    png = base64_png(np.eye(5, dtype=np.uint8))
    shapes = [
        shape("cup", group_id=1),
        shape("box", [[1, 1], [5, 5]], shape_type="rectangle", description="the box"),
        shape("disc", [[9, 9], [12, 9]], shape_type="circle"),
        shape("cut", [[2, 2], [6, 6]], shape_type="mask", mask=png),
        shape("__ignore__"),
    ]
    write_json(root / "a.json", {"shapes": shapes, "imagePath": "a.jpg", "imageHeight": 40, "imageWidth": 60})


def survive(dataset: str, root: Path) -> str:
    """Read everything."""
    rejects = RejectLog()
    refused: StampError | None = None
    try:
        source = open_source(dataset, root)
        source.load()
        for split in source.splits():
            for record in source.annotations(split, rejects):
                assert msgspec.json.decode(msgspec.json.encode(record), type=Annotation).id == record.id
                assert all(0 <= place < len(record.targets) for r in record.requests for place in r.targets)
    except StampError as fault:
        refused = fault
    if refused is not None:
        assert refused.hint, "a remedy"
        raise refused
    for row in rejects.rows:
        assert row.reason in KNOWN and row.file and msgspec.json.encode(row)
    return PART if rejects.rows else WHOLE


def reader(name: str, dataset: str, write: Callable[[Path], None], file: str) -> Reader:
    """A source whose `file` is damaged."""

    def prepare(root: Path) -> Path:
        write(root)
        return root / file

    def read(path: Path) -> str:
        root = path
        for _ in Path(file).parts:
            root = root.parent
        return survive(dataset, root)

    return Reader(name, prepare, read, TEXT, 440)


READERS = [
    reader("references, text pickle", "refcoco", partial(refer, protocol=0), "refer_seg/refcoco/refs(unc).p"),
    reader("references, binary pickle", "refcoco", partial(refer, protocol=2), "refer_seg/refcoco/refs(unc).p"),
    reader("references, framed pickle", "refcoco", partial(refer, protocol=4), "refer_seg/refcoco/refs(unc).p"),
    reader("instances", "refcoco", partial(refer, protocol=2), "refer_seg/refcoco/instances.json"),
    reader("generalised references", "grefcoco", grefcoco, "refer_seg/grefcoco/grefs(unc).json"),
    reader("reasoning", "reason_seg", reason_seg, "reason_seg/train/a.json"),
    reader("explanations", "reason_seg", reason_seg, "reason_seg/explanatory/train.json"),
    reader("conversations", "llava", llava, "llava_v1_5_mix665k.json"),
    reader("own data, coco", "coco", coco, "annotations/instances_train.json"),
    reader("references, numpy's ids", "refcoco", partial(numpy_refer, protocol=2), "refer_seg/refcoco/refs(unc).p"),
    reader(
        "references, numpy's ids framed", "refcoco", partial(numpy_refer, protocol=5), "refer_seg/refcoco/refs(unc).p"
    ),
    reader("own data, coco exported", "coco", own_coco, "annotations/instances_train.json"),
    reader("own data, labelme", "labelme", labelme, "a.json"),
]
