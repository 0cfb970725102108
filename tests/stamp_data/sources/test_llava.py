"""LLaVA's conversations."""

from __future__ import annotations

import json
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


@pytest.mark.parametrize("said", ["<image>\nwhat?", "what is <image>", "<IMAGE> what?"])
@pytest.mark.parametrize("more", [{}, {"image": None}, {"image": ""}, {"images": []}])
def test_a_question_that_points_at_no_picture_is_refused(tmp_path: Path, said: str, more: Json) -> None:
    assert turns(tmp_path, {"conversations": talk(said, "that"), **more}) == ([], [("no-picture", 1)])
    assert turns(tmp_path, {"conversations": talk("a", "b", said, "d"), **more}) == ([], [("no-picture", 1)])


def test_an_answer_may_mention_the_marker(tmp_path: Path) -> None:
    found, rejects = turns(tmp_path, {"conversations": talk("which tag?", "the <image> tag")})
    assert found[1] == Turn("assistant", "the tag") and rejects == [("image-marker", 0)]


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("Look at <image> and say", "Look at and say"),
        ("Look at <image>, say", "Look at , say"),
        ("a\n<image>\nb", "a\n\nb"),
        ("a <image> <image>  b", "a b"),
        ("a<image>b", "a b"),
        ("<im<image>age> b", "<im age> b"),
        ("a  <image>", "a"),
    ],
)
def test_no_two_spaces_stay_where_a_marker_stood(tmp_path: Path, said: str, text: str) -> None:
    found, _ = turns(tmp_path, {"image": "b.jpg", "conversations": talk("what?", "x", said, "y")})
    assert found[2].text == text


@pytest.mark.parametrize(
    "record",
    [
        {"video": "a.mp4", "conversations": talk("<video>\nwhat?", "a")},
        {"videos": ["a.mp4"], "conversations": talk("what?", "a")},
        {"videos": ["a.mp4"], "image": "a.jpg", "conversations": talk("<image> what?", "a")},
        {"audio": "a.wav", "conversations": talk("what?", "a")},
        {"conversations": talk("<video> what?", "a")},
        {
            "messages": [
                {"role": "user", "content": [{"type": "video", "video": "a.mp4"}]},
                {"role": "assistant", "content": "a"},
            ]
        },
    ],
)
def test_films_and_sounds_are_refused_by_name(tmp_path: Path, record: Json) -> None:
    assert turns(tmp_path, record) == ([], [("other-media", 1)])


def told(*contents: Any) -> list[Json]:
    return [{"role": ("user", "assistant")[k % 2], "content": content} for k, content in enumerate(contents)]


@pytest.mark.parametrize(
    "record",
    [
        {"images": ["p/a.jpg"], "conversations": talk("<image>what?", "that")},
        {"images": "p/a.jpg", "conversations": talk("<image>what?", "that"), "videos": [], "video": None},
        {"image": "p/a.jpg", "images": ["p/a.jpg"], "conversations": talk("<image>what?", "that")},
        {"images": ["p/a.jpg"], "messages": told("<image>what?", "that")},
        {"image": "p/a.jpg", "conversations": told("<image>\nwhat?", "that")},
        {"messages": told([{"type": "image", "image": "p/a.jpg"}, {"type": "text", "text": "what?"}], "that")},
        {"messages": told([{"image": "p/a.jpg"}, {"text": "what?"}], [{"text": "that"}])},
        {"images": ["p/a.jpg"], "messages": told([{"type": "image", "image": "p/a.jpg"}, {"text": "what?"}], "that")},
        {"messages": told([{"type": "image_url", "image_url": {"url": "p/a.jpg"}}, {"text": "what?"}], "that")},
    ],
)
def test_pictures_are_found_under_any_usual_key(tmp_path: Path, record: Json) -> None:
    write_json(tmp_path / FILE, [record])
    (found,), rejects = read("llava", tmp_path)
    assert found.image is not None and found.image.path == "p/a.jpg" and not rejects
    assert found.conversation == [Turn("user", "what?", "before"), Turn("assistant", "that")]


def test_system_texts_of_other_tools(tmp_path: Path) -> None:
    rows = [
        {"system": "be kind", "conversations": talk("a", "b")},
        {"messages": [{"role": "system", "content": "be kind"}, *told("a", "b")]},
    ]
    write_json(tmp_path / FILE, rows)
    records, rejects = read("llava", tmp_path)
    assert [r.conversation[0] for r in records] == [Turn("system", "be kind")] * 2 and not rejects


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.json"])
def test_a_record_a_line(tmp_path: Path, name: str) -> None:
    rows = [json.dumps({"id": n, "images": ["a.jpg"], "messages": told("<image>\nwhät?", "that")}) for n in range(3)]
    rows[1] = rows[1][:-9]
    (tmp_path / name).write_text("\ufeff" * name.endswith("l") + "\n\n".join(rows) + "\n", encoding="utf-8")
    records, rejects = read("llava", tmp_path / name)
    assert [(record.id, record.where) for record in records] == [
        ("0", (name, "[000000]")), ("2", (name, "[000002]")),
    ]  # fmt: skip
    assert [(row.record, row.reason) for row in rejects] == [("[000001]", "bad-conversation")]


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


@pytest.mark.parametrize(
    "said",
    [
        "see <img>a.jpg</img>", "<|vision_start|><|image_pad|><|vision_end|>what?", "<image 1> what?", "<image1>\nwhat?",
        "<|image_1|>\nwhat?", "<image_placeholder> what?", "<Img><ImageHere></Img> what?", "<im_patch> what?", "<image > what?",
    ],
)  # fmt: skip
def test_what_others_write_for_a_picture_points_at_one_as_well(tmp_path: Path, said: str) -> None:
    assert turns(tmp_path, {"conversations": talk(said, "that")}) == ([], [("no-picture", 1)])


@pytest.mark.parametrize(
    "said", ["what does the <img> tag do?", 'is <img src="a.jpg"> right?', "<|im_start|>", "an image 1"]
)
def test_talk_of_html_points_at_no_picture(tmp_path: Path, said: str) -> None:
    found, _ = turns(tmp_path, {"conversations": talk(said, "that")})
    assert len(found) == 2


def test_lines_may_hold_a_list_and_objects_of_several_lines_are_no_lines(tmp_path: Path) -> None:
    record = {"conversations": talk("a", "b")}
    assert len(read("llava", write_json(tmp_path / "a.jsonl", [record, record]))[0]) == 2
    (tmp_path / "b.json").write_text("\n".join(json.dumps(record, indent=1) for _ in range(2)))
    with pytest.raises(StampError, match=r"b\.json: Expected"):
        read("llava", tmp_path / "b.json")


def test_a_data_uri_is_no_missing_file(tmp_path: Path) -> None:
    write_json(tmp_path / FILE, [{"image": "data:image/jpeg;base64,AAAA", "conversations": talk("a", "b")}])
    _, (row,) = read("llava", tmp_path)
    assert row.reason == "picture-missing" and "write it to a file" in row.detail
