"""Readers of raw datasets: what is read can be stored and read back, and every row gives a known reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

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


def label_studio(root: Path) -> None:
    size = {"original_width": 64, "original_height": 48}
    value = {"points": [[10, 10], [60, 10], [60, 60]], "polygonlabels": ["cup"]}
    brush = {"format": "rle", "rle": [0, 0, 48, 0, 57, 27, 255, 47, 255, 255], "brushlabels": ["cat"]}
    results = [
        {"id": "p", "type": "polygonlabels", "value": value, **size},
        {"id": "p", "type": "textarea", "from_name": "phrase", "value": {"text": ["left cup"]}},
        {"id": "b", "type": "brushlabels", "value": brush, **size},
        {"id": "n", "type": "textarea", "from_name": "no_target", "value": {"text": ["a cow"]}},
    ]
    write_json(root / "export.json", [{"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"result": results}]}])


def label_studio_min(root: Path) -> None:
    size = {"original_width": 64, "original_height": 48}
    shape = {"points": [[10, 10], [60, 10], [60, 60]], "polygonlabels": ["cup"], **size}
    write_json(
        root / "min.json", [{"image": "a.jpg", "id": 1, "label": [shape], "no_target": "a cow", "phrase": "red"}]
    )


def label_studio_bitmask(root: Path) -> None:
    url = "data:image/png;base64," + base64_png(np.eye(8, dtype=np.uint8))
    value = {"imageDataURL": url, "bitmasklabels": ["cat"]}
    result = {"id": "m", "type": "bitmasklabels", "value": value, "original_width": 8, "original_height": 8}
    write_json(root / "export.json", [{"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"result": [result]}]}])


def cvat(root: Path) -> None:
    shapes = (
        '<polygon label="cup" points="1,1;9,1;9,9"><attribute name="expression">left</attribute></polygon>'
        '<box label="box" xtl="1" ytl="1" xbr="9" ybr="9" rotation="3"/><ellipse label="e" cx="9" cy="9" rx="3" ry="4"/>'
        '<mask label="m" rle="3, 5, 1" left="2" top="2" width="3" height="3"/>'
        '<tag label="no_target"><attribute name="text">a cow</attribute></tag>'
    )
    held = f'<annotations><image id="0" name="a.jpg" width="64" height="48" subset="val">{shapes}</image></annotations>'
    (root / "annotations.xml").write_text(held)


def via(root: Path) -> None:
    shapes = [
        {"name": "polygon", "all_points_x": [1, 9, 9], "all_points_y": [1, 1, 9]},
        {"name": "ellipse", "cx": 9, "cy": 9, "rx": 3, "ry": 4, "theta": 0.3},
    ]
    regions = [{"shape_attributes": shape, "region_attributes": {"name": "cup"}} for shape in shapes]
    entry = {"filename": "a.jpg", "size": 9, "regions": regions, "file_attributes": {"no_target": "a cow;a dog"}}
    write_json(root / "via.json", {"_via_img_metadata": {"a.jpg9": entry}})


def via3(root: Path) -> None:
    pieces = [[7, 1, 1, 9, 1, 9, 9], [9, 1, 1, 9, 1, 9, 9], [8, 1, 5, 9, 5, 5, 1, 5, 9], []]
    held = {
        "attribute": {
            "1": {"aname": "phrase", "type": 1},
            "2": {"aname": "no_target", "type": 4, "options": {"0": "a cow"}},
        },
        "file": {"1": {"fid": "1", "fname": "a.jpg", "type": 2, "loc": 1, "src": ""}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": {
            f"1_{n}": {"vid": "1", "xy": xy, "av": {"1": "cup"} if xy else {"2": "0"}} for n, xy in enumerate(pieces)
        },
    }
    write_json(root / "via.json", {"project": {"pid": "_"}, "config": {}, **held})


def scene_parse(root: Path) -> None:
    (root / "annotations/training").mkdir(parents=True)
    Image.fromarray(np.eye(9, dtype=np.uint8) * 3).save(root / "annotations/training/ADE_train_1.png")
    (root / "objectInfo150.txt").write_text("Idx\tName\n3\ttree\n")


def ade20k(root: Path) -> None:
    objects = [{"name": "tree, wood", "name_ndx": 2563}, {"name": "café", "name_ndx": 3}]
    write_json(root / "ADE_train_1.json", {"annotation": {"filename": "a.jpg", "object": objects}})
    Image.fromarray(np.dstack([np.eye(9, dtype=np.uint8) * value for value in (100, 3, 7)])).save(
        root / "ADE_train_1_seg.png"
    )


def coco_stuff(root: Path) -> None:
    (root / "train2017").mkdir()
    Image.fromarray(np.eye(9, dtype=np.uint8) * 117).save(root / "train2017/000000000009.png")


def pascal_part(root: Path) -> None:
    categories = [{"id": 1, "name": "aeroplane:body"}, {"id": 2, "name": "dog:head"}]
    entries = [annotation(1, 1), annotation(2, 1, category_id=2)]
    write_json(root / "train.json", instances([image(1)], entries) | {"categories": categories})


def saco(root: Path) -> None:
    images = [image(1, text_input="a cup"), image(2, text_input="a dog", is_pixel_exhaustive=1)]
    write_json(root / "gold.json", instances(images, [annotation(1, 1, noun_phrase="cup"), annotation(2, 1)]))


CATEGORIES = [{"id": 1, "name": "cup"}, {"id": 2, "name": "aerosol_can"}]


def lvis(root: Path) -> None:
    more = {"coco_url": "http://x/train2017/1.jpg", "neg_category_ids": [2], "not_exhaustive_category_ids": []}
    write_json(
        root / "lvis_v1_train.json", instances([image(1, **more)], [annotation(1, 1)]) | {"categories": CATEGORIES}
    )


def sa1b(root: Path) -> None:
    held = {"image": {"image_id": 1, "file_name": "a.jpg", "width": 64, "height": 48}}
    runs = {"id": 5, "segmentation": {"size": [48, 64], "counts": [3000, 72]}, "expressions": ["it", "that"]}
    write_json(root / "sa_1.json", {**held, "annotations": [runs, {"id": 6, "segmentation": [], "phrase": "a cow"}]})


def sa2va(root: Path) -> None:
    square = annotation(1, 1)["segmentation"]
    write_json(root / "train.json", [{"image": "a.jpg", "mask": [square, []], "text": ["it", ["no", "not"]]}])


def setcon(root: Path) -> None:
    masks = [annotation(1, 1)["segmentation"], {"size": [48, 64], "counts": [3000, 72]}]
    line = {"image": "a.jpg", "text": "it", "masks": masks, "segments": [{"label": "x", "mask_ids": [0, 1]}]}
    (root / "train.jsonl").write_text(
        json.dumps(line) + "\n" + json.dumps({**line, "text": "no", "masks": [], "segments": []})
    )


def annotations(root: Path) -> None:
    mask = {"id": "m1", "rle": {"size": [48, 64], "counts": "hm2X2"}, "categories": ["cup"]}
    said = {"id": "p1", "text": "it", "masks": ["m1"], "status": "accepted"}
    nothing = {"id": "p2", "text": "no", "nothing": "absent", "status": "accepted"}
    image = {"path": "a.jpg", "width": 64, "height": 48}
    document = {"schema": "stamp.annotations/1", "image": image, "phrases": [said, nothing], "masks": [mask]}
    write_json(root / "a.jpg.json", document)


def phrasecut(root: Path) -> None:
    outline = [[[[1, 1], [9, 1], [9, 9]]]]
    write_json(root / "refer_train.json", [{"task_id": "7__1", "image_id": 7, "phrase": "cup", "Polygons": outline}])


def masks(root: Path, name: str) -> None:
    Image.fromarray(np.eye(9, dtype=np.uint8)).save(root / "m.png")
    row = {"image": "a.jpg", "mask": "m.png", "phrase": "it", "value": "1", "split": "val"}
    lines = [json.dumps(row)] if name.endswith("l") else [",".join(row), ",".join(row.values())]
    (root / name).write_text("\n".join([*lines, ""]))


def parquet(root: Path) -> None:
    raw = json.dumps({"segmentation": annotation(1, 1)["segmentation"]})
    info = json.dumps({"file_name": "a.jpg", "width": 64, "height": 48})
    sentences = [{"sent": "left", "sent_id": 1}, {"sent": "the cup", "sent_id": 2}]
    row = {"image_id": 1, "ref_id": 2, "ann_id": 3, "split": "val", "sentences": sentences}
    pq.write_table(pa.Table.from_pylist([{**row, "raw_anns": raw, "raw_image_info": info}] * 3), root / "val.parquet")


def yolo(root: Path) -> None:
    (root / "labels").mkdir()
    (root / "images").mkdir()
    Image.new("L", (64, 48)).save(root / "images/a.png")
    (root / "classes.txt").write_text("cup\ndog\n")
    (root / "labels/a.txt").write_text("0 0.1 0.1 0.9 0.1 0.9 0.9\n1 .1 .2 .3 .4 .5 .6 .7 .8\n")


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
    reader("Label Studio", "label_studio", label_studio, "export.json"),
    reader("Label Studio, small", "label_studio", label_studio_min, "min.json"),
    reader("Label Studio, bitmask", "label_studio", label_studio_bitmask, "export.json"),
    reader("CVAT", "cvat", cvat, "annotations.xml"),
    reader("VIA", "via", via, "via.json"),
    reader("VIA 3", "via", via3, "via.json"),
    reader("SceneParse", "ade20k", scene_parse, "annotations/training/ADE_train_1.png"),
    reader("SceneParse, names", "ade20k", scene_parse, "objectInfo150.txt"),
    reader("ADE20K", "ade20k", ade20k, "ADE_train_1.json"),
    reader("ADE20K, the map", "ade20k", ade20k, "ADE_train_1_seg.png"),
    reader("COCO-Stuff", "coco_stuff", coco_stuff, "train2017/000000000009.png"),
    reader("PASCAL-Part", "pascal_part", pascal_part, "train.json"),
    reader("SA-Co", "saco", saco, "gold.json"),
    reader("LVIS", "lvis", lvis, "lvis_v1_train.json"),
    reader("SA-1B", "sa1b", sa1b, "sa_1.json"),
    reader("Sa2VA", "sa2va", sa2va, "train.json"),
    reader("stamp-data annotate", "annotations", annotations, "a.jpg.json"),
    reader("SetCon", "setcon", setcon, "train.jsonl"),
    reader("PhraseCut", "phrasecut", phrasecut, "refer_train.json"),
    reader("masks, JSON lines", "masks", partial(masks, name="t.jsonl"), "t.jsonl"),
    reader("masks, table", "masks", partial(masks, name="t.csv"), "t.csv"),
    reader("masks, the mask", "masks", partial(masks, name="t.csv"), "m.png"),
    reader("RefCOCO as Parquet", "refcoco_parquet", parquet, "val.parquet"),
    reader("YOLO", "yolo", yolo, "labels/a.txt"),
]
