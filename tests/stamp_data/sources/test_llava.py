"""LLaVA's conversations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stamp_data.sources import open_source
from stamp_data.sources.llava import FILE
from stamp_schemas import StampError, Turn

from .raw import Json, read, reasons, talk, write_json


def turns(root: Path, record: Json) -> tuple[list[Turn], list[tuple[str, int]]]:
    write_json(root / FILE, [record])
    records, rejects = read("llava", root)
    return (records[0].conversation if records else []), reasons(rejects)


@pytest.mark.parametrize(
    ("said", "text", "place"),
    [
        ("<image>\nwhat?", "what?", "before"),
        ("<image>what?", "what?", "before"),
        ("what?\n<image>", "what?", "after"),
        ("what?", "what?", "before"),
    ],
)
def test_the_marker_says_where_the_picture_is(tmp_path: Path, said: str, text: str, place: Any) -> None:
    found, rejects = turns(tmp_path, {"id": "7", "image": "a/b.jpg", "conversations": talk(said, "that")})
    assert found == [Turn("user", text, place), Turn("assistant", "that")] and not rejects


@pytest.mark.parametrize(
    "said", [("<image> what <image>", "x"), ("a <image> b", "x"), ("what?", "an <image>"), ("a", "b", "<image> c", "d")]
)
def test_any_other_marker_is_taken_out_with_a_row(tmp_path: Path, said: tuple[str, ...]) -> None:
    found, rejects = turns(tmp_path, {"image": "b.jpg", "conversations": talk(*said)})
    assert not any("<image>" in turn.text for turn in found)
    assert [turn.has_image for turn in found if turn.has_image] == ["before"]
    assert rejects == [("image-marker", 0)]


def test_a_marker_without_a_picture_is_taken_out(tmp_path: Path) -> None:
    found, rejects = turns(tmp_path, {"conversations": talk("<image>\nwhat?", "that")})
    assert found[0] == Turn("user", "what?") and rejects == [("image-marker", 0)]


def test_variants(tmp_path: Path) -> None:
    other = [{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}]
    system = [{"from": "system", "value": "be brief"}, *talk("a", "b")]
    rows = [
        {"id": "x", "image": ["p/q.jpg"], "conversations": talk("a", "b"), "system_prompt": "be kind"},
        {"id": "x", "conversations": other},
        {"conversations": system, "image": None},
        {"id": 12, "image": [], "conversations": talk("a", "b", "c", "d")},
    ]
    write_json(tmp_path / FILE, rows)
    records, rejects = read("llava", tmp_path)
    assert not rejects
    assert [r.id for r in records] == ["x", "x", "000002", "12"]
    assert records[2].where == (FILE, "[000002]")
    assert [r.conversation[0].role for r in records] == ["system", "user", "system", "user"]
    assert [r.image.path if r.image else None for r in records] == ["p/q.jpg", None, None, None]
    assert all(record.expressions == 1 for record in records)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"conversations": []}, "bad-conversation"),
        ({}, "bad-conversation"),
        ({"conversations": talk("only a question")}, "bad-conversation"),
        ({"conversations": [{"from": "human", "value": "a"}] * 2}, "bad-conversation"),
        ({"conversations": talk("a", "b")[::-1]}, "bad-conversation"),
        ({"conversations": [{"from": "human"}]}, "bad-conversation"),
        ({"conversations": [{"from": "robot", "value": "a"}, {"from": "gpt", "value": "b"}]}, "bad-conversation"),
        ({"conversations": talk("a", "b"), "image": ["a.jpg", "b.jpg"]}, "several-images"),
        ({"conversations": talk("a", "b"), "image": "../a.jpg"}, "path-escape"),
        ({"conversations": talk("a", "b"), "image": 3}, "bad-conversation"),
        ({"conversations": talk("a", "b"), "image": "ocr_vqa/images/gone.jpg"}, "picture-missing"),
        ("text", "bad-conversation"),
    ],
)
def test_odd_records_are_refused(tmp_path: Path, record: Any, reason: str) -> None:
    assert turns(tmp_path, record) == ([], [(reason, 1)])


def test_ocr_vqa_is_looked_up_by_stem(tmp_path: Path) -> None:
    folder = tmp_path / "ocr_vqa" / "images"
    folder.mkdir(parents=True)
    for name in ("1.gif", "2.png", "3.jpg", "3.png"):
        (folder / name).touch()
    rows = [{"image": f"ocr_vqa/images/{n}.jpg", "conversations": talk("a", "b")} for n in (1, 2, 3)]
    write_json(tmp_path / FILE, rows)
    records, rejects = read("llava", tmp_path)
    assert [r.image.path for r in records if r.image] == [f"ocr_vqa/images/{n}" for n in ("1.gif", "2.png", "3.jpg")]
    assert not rejects


def test_a_file_that_is_no_list(tmp_path: Path) -> None:
    write_json(tmp_path / FILE, {"id": 1})
    source = open_source("llava", tmp_path)
    with pytest.raises(StampError, match="Expected `array`"):
        source.load()


def test_real_records(real_data: Path) -> None:
    mixed, rejects = read("llava", real_data / "llava/lmms_finetune/single_image_has_text_only.json")
    assert [bool(record.image) for record in mixed] == [True, True, False, False] and not rejects
    assert mixed[0].conversation[0].role == "system"
    after, _ = read("llava", real_data / "llava/qwen_vl_finetune/demo/single_images.json")
    assert [record.conversation[0].has_image for record in after] == ["after", "after"]
    (bus,), _ = read("llava", real_data / "llava/mix665k_excerpt.json")
    assert bus.id == "000000033471" and len(bus.conversation) >= 6
