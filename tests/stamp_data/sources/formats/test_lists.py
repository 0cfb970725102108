"""Sa2VA's, SetCon's, PhraseCut's and SA-1B's JSON: lists of masks with words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stamp_data.doctor import examine

from ..raw import Json, write_json
from .making import CORNERS, HEIGHT, TRIANGLE, WIDTH, Said, polygon_mask, put, refused
from .test_coco_like import polygon, runs


def test_sa2va(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "images/a.jpg", "images/b.jpg")
    both = polygon(CORNERS) + polygon(TRIANGLE)
    first = {"image": "a.jpg", "mask": [both, runs(TRIANGLE), []], "text": ["the cars", ["the cup", "a mug"], "a cow"]}
    write_json(root / "train.json", [first, {"image": "b.jpg", "mask": [polygon(CORNERS)], "text": ["it"]}])
    found = Said(root, tmp_path / "out", "sa2va")
    assert found.phrases == ["a cow", "a mug", "it", "the cars", "the cup"] and not found.rows
    assert np.array_equal(found.mask("the cars"), polygon_mask(CORNERS, TRIANGLE)) and not found.mask("a cow").any()
    assert np.array_equal(found.mask("a mug"), polygon_mask(TRIANGLE)) and found.records == {"train": 2}


def test_what_sa2va_cannot_use_is_told(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "a.jpg")
    entries: list[Any] = [
        {"image": "a.jpg", "mask": [polygon(CORNERS), "x", polygon(CORNERS)], "text": ["good", "bad", 3]},
        {"image": "a.jpg", "mask": [polygon(CORNERS)], "text": []},
        {"image": "/etc/passwd", "mask": [polygon(CORNERS)], "text": ["away"]},
        {"image": 3},
    ]
    write_json(root / "mine.json", entries)
    found = Said(root, tmp_path / "out", "sa2va")
    assert found.phrases == ["good"] and found.reasons == [
        ("[0] text[1]", "bad-segmentation"), ("[0] text[2]", "bad-sentence"), ("[1]", "bad-annotation"),
        ("[2]", "path-escape"), ("[3]", "bad-annotation"),
    ]  # fmt: skip


def task(number: int, phrase: Any, *instances: Any, image: int = 7, **other: Any) -> Json:
    outlines = [[[list(point) for point in points] for points in instance] for instance in instances]
    boxes = [[0, 0, 1, 1] for _ in instances]
    return {
        "task_id": f"{image}__{number}", "image_id": image, "ann_ids": [number], "phrase": phrase, "instance_boxes": boxes,
        "Polygons": outlines, "phrase_structure": {"name": "car", "attributes": []}, **other,
    }  # fmt: skip


def test_phrasecut(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "images/7.jpg")
    small = [(1.0, 1.0), (9.0, 1.0), (9.0, 9.0)]
    write_json(root / "refer_train.json", [task(1, "red cars", [CORNERS], [TRIANGLE, small]), task(2, "cup", [small])])
    write_json(root / "refer_val.json", [task(1, "red cars", [CORNERS])])
    found = Said(root, tmp_path / "out", "phrasecut")
    assert found.records == {"train": 1, "val": 1} and not found.rows
    assert np.array_equal(found.mask("red cars", split="train"), polygon_mask(CORNERS, TRIANGLE, small))
    assert np.array_equal(found.mask("cup"), polygon_mask(small))


def test_what_phrasecut_cannot_use_is_told(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "images/7.jpg")
    tasks = [task(1, "good", [CORNERS]), task(2, 3, [CORNERS]), task(3, "bad", Polygons=[[[1, 2]]]), task(4, "none"),
             task(5, "away", [CORNERS], image="../7")]  # fmt: skip
    write_json(root / "refer_train.json", tasks)
    found = Said(root, tmp_path / "out", "phrasecut")
    assert found.phrases == ["good", "none"] and not found.mask("none").any()
    assert sorted(reason for _, reason in found.reasons) == ["bad-annotation", "bad-shape", "path-escape"]


def write_lines(path: Path, *lines: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


def set_of(text: Any, masks: list[Any], *segments: list[int], image: str = "a.jpg") -> Json:
    named = [{"label": f"part {number}", "mask_ids": places} for number, places in enumerate(segments)]
    return {"image": image, "text": text, "masks": masks, "segments": named}


def test_setcon(tmp_path: Path) -> None:
    """Masks by their places, of both kinds; one that no segment refers to is not meant."""
    root = tmp_path / "data"
    put(root, "a.jpg")
    small = [(1.0, 1.0), (9.0, 1.0), (9.0, 9.0)]
    masks = [polygon(CORNERS), runs(TRIANGLE), polygon(small)]
    lines = [
        set_of("both", masks, [0, 1], [1]),
        set_of("one", masks, [2]),
        set_of("a cow", []),
        set_of("a cat", masks, []),
    ]
    found = Said(write_lines(root / "refcoco_val.jsonl", *lines), tmp_path / "out", "setcon")
    assert found.records == {"val": 1} and not found.rows
    assert np.array_equal(found.mask("both"), polygon_mask(CORNERS) | polygon_mask(TRIANGLE))
    assert np.array_equal(found.mask("one"), polygon_mask(small))
    assert not found.mask("a cow").any() and not found.mask("a cat").any()


def test_what_setcon_cannot_use_is_told(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "a.jpg")
    car = [polygon(CORNERS)]
    lines = [
        *(set_of("good", car, [0]), set_of("beyond", car, [1]), set_of("before", car, [-1]), set_of("odd", ["x"], [0])),
        *(set_of(3, car, [0]), '{"image"\n', "\n", set_of("away", car, [0], image="../a.jpg"), set_of("unsaid", car)),
    ]
    found = Said(write_lines(root / "mine.jsonl", *lines), tmp_path / "out", "setcon")
    assert found.phrases == ["good"] and found.reasons == [
        ("line 2", "bad-annotation"), ("line 3", "bad-annotation"), ("line 4", "bad-segmentation"),
        ("line 5", "bad-annotation"), ("line 6", "bad-annotation"), ("line 8", "path-escape"),
        ("line 9", "bad-annotation"),
    ]  # fmt: skip


def test_the_doctor_examines_setcon(tmp_path: Path) -> None:
    put(tmp_path, "images/a.jpg")
    write_lines(tmp_path / "mine.jsonl", set_of("it", [polygon(CORNERS)], [0]))
    (report,) = [one for one in examine(tmp_path).datasets if one.splits]
    assert (report.dataset, report.state, report.splits[0].opened) == ("setcon", "ready", 1) and not report.splits[
        0
    ].findings


def of_picture(*annotations: Any, name: str = "sa_1.jpg") -> Json:
    return {
        "image": {"image_id": 1, **{"width": WIDTH, "height": HEIGHT}, "file_name": name},
        "annotations": list(annotations),
    }


def test_sa1b(tmp_path: Path) -> None:
    """A file per picture; SA-1B has no words of its own, and says so in rows."""
    root = tmp_path / "data"
    put(root, "val/sa_1.jpg", "val/sa_2.jpg")
    own = {
        "id": 5,
        "segmentation": runs(CORNERS),
        "bbox": [1, 1, 2, 2],
        "area": 3,
        "predicted_iou": 0.9,
        "stability_score": 0.9,
    }
    words = [
        {**own, "caption": "the car"},
        {**own, "id": 6, "segmentation": runs(TRIANGLE), "expressions": ["a cup", "left"]},
    ]
    write_json(root / "val/sa_1.json", of_picture(*words, {"id": 7, "segmentation": [], "phrase": "a cow"}))
    write_json(root / "val/sa_2.json", of_picture(own, name="sa_2.jpg"))
    (root / "val/sa_3.json").write_text('{"image": {"file_name": "x"}, "annotations": [], "segmentation"')
    found = Said(root, tmp_path / "out", "sa1b")
    assert found.phrases == ["a cow", "a cup", "left", "the car"] and found.records == {"val": 1}
    assert np.array_equal(found.mask("left"), polygon_mask(TRIANGLE)) and not found.mask("a cow").any()
    told = sorted((row.file, row.reason) for row in found.rows)
    assert told == [("val/sa_2.json", "no-phrase"), ("val/sa_3.json", "unreadable-file")]


@pytest.mark.parametrize(
    ("name", "line"),
    [("setcon", {"masks": [], "segments": []}), ("masks", {"mask": ""})],
)
def test_lines_may_begin_with_a_byte_order_mark(name: str, line: Json, tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "a.jpg")
    text = json.dumps({"image": "a.jpg", "text": "a cow", **line})
    (root / "lines.jsonl").write_text(text, encoding="utf-8-sig")
    assert Said(root, tmp_path / "out", name).phrases == ["a cow"]


def test_things_of_one_id_stay_apart(tmp_path: Path) -> None:
    """Files that number their masks anew: no phrase gets the mask of another, and what is called the same keeps its parts."""
    root = tmp_path / "data"
    put(root, "sa_1.jpg")
    outlines = (CORNERS, TRIANGLE, CORNERS)
    things = [{"id": 1, "segmentation": polygon(points), "expression": "it"} for points in outlines]
    write_json(root / "sa_1.json", of_picture(*things, {**things[1], "expression": "the cup"}))
    found = Said(root, tmp_path / "out", "sa1b")
    assert np.array_equal(found.mask("the cup"), polygon_mask(TRIANGLE)) and not found.rows
    assert np.array_equal(found.mask("it"), polygon_mask(CORNERS, TRIANGLE))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("sa2va", [{"image": "images/a.jpg", "mask": [polygon(CORNERS)], "text": ["it"]}]),
        ("phrasecut", [task(1, "it", [CORNERS], image="a")]),
        ("sa1b", of_picture({"segmentation": runs(CORNERS), "label": "it"}, name="a.jpg")),
    ],
)
def test_the_doctor_examines_them(name: str, content: object, tmp_path: Path) -> None:
    put(tmp_path, "images/a.jpg")
    write_json(tmp_path / "mine.json", content)
    (report,) = [one for one in examine(tmp_path).datasets if one.splits]
    assert (report.dataset, report.state, report.splits[0].opened) == (name, "ready", 1) and not report.splits[
        0
    ].findings


@pytest.mark.parametrize("name", ["sa2va", "setcon", "phrasecut", "sa1b"])
@pytest.mark.parametrize("content", [b"", b"[", b'"x"', b"[" * 2000])
def test_a_file_that_is_none_ends_in_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_bytes(content)
    with refused("no usable record" if name == "setcon" and content else "mine.json"):
        Said(path, tmp_path / "out", name)
