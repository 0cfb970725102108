"""ReasonSeg: questions, phrases, ignored regions, explanations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stamp_data.sources import open_source
from stamp_data.sources.reasonseg import ReasonSeg
from stamp_schemas import StampError

from .raw import read, reasoning, reasons, shape, write_json


def write(root: Path, name: str, value: object, folder: str = "reason_seg/ReasonSeg") -> Path:
    return write_json(root / folder / f"{name}.json", value)


@pytest.mark.parametrize("folder", ["reason_seg/ReasonSeg", "reason_seg", "ReasonSeg"])
def test_regions_texts_and_forms(tmp_path: Path, folder: str) -> None:
    shapes = [shape("target"), shape("ignore"), shape("flag", [[1.0, 1.0], [2.0, 2.0]]), shape("target")]
    write(tmp_path, "val/a", reasoning(["what is hot?", "which burns?"], shapes), folder)
    write(tmp_path, "val/b", reasoning(["the hot thing"], shapes[:1], is_sentence=False), folder)
    assert ReasonSeg.find(tmp_path) == [""]
    (a, b), rejects = read("reason_seg", tmp_path, "val")
    assert not rejects
    assert [region.role for region in a.targets[0].regions] == ["target", "ignore", "target"]
    assert [(r.id, r.form, r.targets) for r in a.requests] == [("0", "question", [0]), ("1", "question", [0])]
    assert [r.form for r in b.requests] == ["description"]
    assert a.image is not None and (a.image.path, a.image.width) == (f"{folder}/val/a.jpg", None)
    assert json.loads(bytes(a.targets[0].regions[0].segmentation)) == [[1, 1, 9, 1, 9, 9]]


def test_explanations_belong_to_the_training_split(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write(tmp_path, f"{split}/a", reasoning(["what?"], [shape("target")]))
    entries = [
        {"image": "a.jpg", "query": "why?", "outputs": "because"},
        {"image": "gone.jpg", "query": "why?", "outputs": "because"},
        {"image": "a.jpg", "query": "why?"},
        {"image": "a.jpg", "query": "", "outputs": "because"},
    ]
    write(tmp_path, "explanatory/train", entries)
    (record,), rejects = read("reason_seg", tmp_path)
    explained = record.requests[-1]
    assert (explained.id, explained.form, explained.text, explained.answer) == ("e0", "explanation", "why?", "because")
    assert reasons(rejects) == [("bad-reference", 1), ("empty-text", 1), ("unused-entry", 1)]
    (other,), rejects = read("reason_seg", tmp_path, "val")
    assert len(other.requests) == 1 and not rejects


def test_labels_are_taken_in_any_case(tmp_path: Path) -> None:
    write(tmp_path, "val/a", reasoning(["what?"], [shape("Target"), shape("IGNORE"), shape("FLAG", [[1.0, 1.0]])]))
    (record,), rejects = read("reason_seg", tmp_path, "val")
    assert [region.role for region in record.targets[0].regions] == ["target", "ignore"] and not rejects


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["a.JPEG"], "a.JPEG"),
        (["a.PNG"], "a.PNG"),
        (["a.Tiff"], "a.Tiff"),
        (["a.JPG", "a.jpg", "a.png"], "a.jpg"),
        (["a.png", "a.JPG"], "a.JPG"),
        (["a.txt", "b.jpg"], "a.jpg"),
    ],
)
def test_pictures_are_found_under_any_suffix(tmp_path: Path, files: list[str], found: str) -> None:
    path = write(tmp_path, "val/a", reasoning(["what?"], [shape("target")]))
    for name in files:
        (path.parent / name).touch()
    (record,), _ = read("reason_seg", tmp_path, "val")
    assert record.image is not None and record.image.path == f"reason_seg/ReasonSeg/val/{found}"


def test_cp1252_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, "test/a", {})
    path.write_bytes(json.dumps(reasoning(["the café’s door"], [shape("target")]), ensure_ascii=False).encode("cp1252"))
    (record,), rejects = read("reason_seg", tmp_path, "test")
    assert record.requests[0].text == "the café’s door" and not rejects


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (reasoning(["a", "b"], [shape("ignore")]), [("no-target", 2)]),
        (reasoning(["a"], []), [("no-target", 1)]),
        (reasoning([], [shape("target")]), [("empty-text", 0)]),
        (reasoning([" ", "ok"], [shape("target"), {}]), [("bad-shape", 0), ("bad-shape", 2)]),
        (reasoning(["a"], [shape("target"), shape("mystery")]), [("bad-shape", 0), ("bad-shape", 1)]),
        (reasoning(["a"], [shape("target", shape_type="circle")]), [("bad-shape", 0), ("bad-shape", 1)]),
        (reasoning(["a"], [shape("target", [[float("nan"), 1.0]])]), [("bad-shape", 0), ("bad-shape", 1)]),
        (reasoning(["a"], [shape("target")], is_sentence="yes"), [("unreadable-file", 0)]),
        (reasoning([3], [shape("target")]), [("bad-sentence", 1)]),
        ([], [("unreadable-file", 0)]),
    ],
)
def test_one_bad_file_is_rows_and_the_rest_is_read(
    tmp_path: Path, value: object, expected: list[tuple[str, int]]
) -> None:
    write(tmp_path, "val/bad", value)
    write(tmp_path, "val/good", reasoning(["what?"], [shape("target")]))
    (record,), rejects = read("reason_seg", tmp_path, "val")
    assert record.id == "good" and reasons(rejects) == expected


def test_rows_do_not_depend_on_where_the_root_lies(tmp_path: Path) -> None:
    for root in (tmp_path / "here", tmp_path / "there"):
        write(root, "val/bad", [])
        (root / "reason_seg/ReasonSeg/val/folder.json").mkdir()
        write(root, "val/good", reasoning(["what?"], [shape("target")]))
    here, there = (read("reason_seg", tmp_path / name, "val")[1] for name in ("here", "there"))
    assert here == there and reasons(here) == [("unreadable-file", 0)] * 2
    assert [path.name for path in open_source("reason_seg", tmp_path / "here").inputs] == ["bad.json", "good.json"]


def test_a_blank_text_costs_itself_alone(tmp_path: Path) -> None:
    write(tmp_path, "val/a", reasoning([" ", "ok"], [shape("target")]))
    (record,), rejects = read("reason_seg", tmp_path, "val")
    assert [r.id for r in record.requests] == ["1"] and reasons(rejects) == [("empty-text", 1)]


def test_an_unreadable_explanatory_file_is_a_row(tmp_path: Path) -> None:
    write(tmp_path, "train/a", reasoning(["what?"], [shape("target")]))
    write(tmp_path, "explanatory/train", {"not": "a list"})
    (record,), rejects = read("reason_seg", tmp_path)
    assert len(record.requests) == 1 and reasons(rejects) == [("unreadable-file", 0)]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(StampError, match="holds no train, val or test"):
        open_source("reason_seg", tmp_path)


def test_real_records(real_data: Path) -> None:
    records, rejects = read("reason_seg", real_data)
    assert not rejects and [len(r.requests) for r in records] == [7, 7, 7]
    lion = next(r for r in read("reason_seg", real_data, "val")[0] if r.id.startswith("106484289"))
    assert [region.role for region in lion.targets[0].regions] == ["target", "ignore"]


def test_half_a_character_costs_its_text_alone(tmp_path: Path) -> None:
    write(tmp_path, "val/a", reasoning(["half \ud83d", "what?", 7], [shape("target")]))
    (record,), rejects = read("reason_seg", tmp_path, "val")
    assert [r.id for r in record.requests] == ["1"] and reasons(rejects) == [("bad-sentence", 1)] * 2
