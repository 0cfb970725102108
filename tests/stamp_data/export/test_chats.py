"""Formats of dialogues: every text comes back, with its picture; masks are counted as lost, of ms-swift's not their boxes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stamp_data.export import export_sets
from stamp_data.shards.reader import Loaded, ShardSet
from stamp_data.sources.llava import LLaVA
from stamp_schemas import Annotation, Dialogue, ImageRef, Request, Target, Turn
from stamp_schemas.record import SEG

from ..making import ListSource, assorted, box, build, draw

FORMATS = ("ms-swift", "llama-factory", "openai")
Turns = tuple[tuple[str, str], ...]
Talk = tuple[bytes, Turns, tuple[tuple[float, ...], ...]]
"""Picture, b"" if there is none; turns, with <image> where it stands; of ms-swift, a box per mask that is there."""


def items(out: Path) -> list[Any]:
    return [json.loads(line) for line in (out / "tiny/train.jsonl").read_text(encoding="utf-8").split("\n") if line]


def read(out: Path, item: Any) -> Talk:
    """An item by the description of the formats."""
    paths, turns = list(item.get("images", [])), []
    for turn in item["messages"]:
        text = turn["content"]
        if isinstance(text, list):  # OpenAI's parts
            paths += [part["image_url"]["url"] for part in text if part["type"] == "image_url"]
            text = "".join(part.get("text", "<image>") for part in text)
        turns.append((turn["role"], text))
    assert sum(text.count("<image>") for _, text in turns) == len(paths) <= 1
    boxes = tuple(tuple(one) for one in item["objects"]["bbox"]) if "objects" in item else ()
    assert "objects" not in item or sum(text.count("<bbox>") for _, text in turns) == len(boxes)
    return b"".join((out / path).read_bytes() for path in paths), tuple(turns), boxes


def expected(loaded: Loaded, dialogue: Dialogue, form: str) -> Talk:
    boxes, turns = [], []
    targets = iter(dialogue.targets)
    for turn in dialogue.messages:
        text = "".join(part.text if part.type == "text" else "<image>" for part in turn.content)
        before, *parts = text.split(SEG) if turn.role == "assistant" else [text]
        for part in parts:
            target = loaded.record.targets[next(targets)]
            x, y, width, height = target.bbox
            boxes += [(x, y, x + width, y + height)] if target.area and form == "ms-swift" else []
            there = "<bbox>" if form == "ms-swift" else SEG
            before += (there if target.area else "nothing") + part
        turns.append((turn.role, before))
    shown = any("<image>" in text for _, text in turns)
    return (loaded.image or b"") if shown else b"", tuple(turns), tuple(boxes)


def check(folder: Path, out: Path, form: str) -> Counter[Talk]:
    """Every dialogue comes back, or is one whose words stand for something else there. Returns the ones that are lost."""
    report = export_sets([folder], form, out, allow_loss=True)
    with ShardSet(folder) as shards:
        first = Counter(expected(one, talk, form) for one in shards for talk in one.record.dialogues)
        masks = sum(len(one.record.targets) for one in shards)
    again = Counter(read(out, item) for item in items(out))
    assert not again - first
    lost = {(loss.code, loss.what): loss.count for loss in report.losses}
    assert lost.get(("masks", "targets"), 0) == masks
    assert lost.get(("reserved-words", "dialogues"), 0) == (first - again).total()
    return first - again


@pytest.mark.parametrize("form", FORMATS)
def test_every_kind_of_record(form: str, mixed: Path, tmp_path: Path) -> None:
    assert not check(mixed, tmp_path / "out", form)
    pictures = {len(talk[0]) > 0 for talk in (read(tmp_path / "out", item) for item in items(tmp_path / "out"))}
    assert pictures == {True, False}


def test_boxes_are_corners_in_pixels(tmp_path: Path) -> None:
    image = ImageRef(draw(tmp_path / "raw", "1.png", 48, 40, 1), 48, 40)
    targets = [Target("a", [box(3, 4, 20, 30)]), Target("none")]
    request = Request("0", "the dogs", [0, 1], ("tiny.json", "1"))
    made = Annotation("1", ("tiny.json", "1"), image, targets, [request])
    folder = build(ListSource(tmp_path / "raw", [made]), tmp_path / "set")
    export_sets([folder], "ms-swift", tmp_path / "out", allow_loss=True)
    (item,) = items(tmp_path / "out")
    assert item["objects"] == {"ref": [], "bbox": [[3.0, 4.0, 20.0, 30.0]], "bbox_type": "real"}
    assert "<bbox> nothing" in item["messages"][1]["content"]


words = st.sampled_from(
    ["the dog", "größe → 猫", "<bbox>", "say <audio> twice", "<ref-object>", "two\nlines", "\U0001f600"]
)
turns = st.lists(st.tuples(words, words), min_size=1, max_size=3)
pages = st.lists(st.tuples(st.booleans(), st.lists(words, min_size=1, max_size=3), turns), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pages")
    draw(root, "0.png", 48, 40, 0)
    return root


@pytest.mark.parametrize("form", FORMATS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None, derandomize=True)
@given(made=pages)
def test_whatever_is_said(
    form: str, pictures: Path, tmp_path_factory: pytest.TempPathFactory, made: list[tuple[bool, list[str], Any]]
) -> None:
    folder = tmp_path_factory.mktemp("talk")
    image = ImageRef("images/0.png", 48, 40)
    annotations = []
    for number, (is_talk, phrases, rounds) in enumerate(made):
        here = Annotation(str(number), ("tiny.json", "1"), image)
        if is_talk:
            said = [Turn(role, text) for pair in rounds for role, text in zip(("user", "assistant"), pair, strict=True)]
            said[0].has_image = "before"
            here.conversation = said
        else:
            here.targets = [Target("a", [box(3, 4, 20, 30)]), Target("none")]
            here.requests = [
                Request(str(n), phrase.replace("\n", " "), [n % 2, 0][: 1 + n % 2], ("tiny.json", f"{n}"))
                for n, phrase in enumerate(phrases)
            ]
        annotations.append(here)
    lost = check(build(ListSource(pictures, annotations), folder / "set"), folder / "out", form)
    stands = {"ms-swift": ("<bbox>", "<audio>", "<ref-object>"), "llama-factory": ("<audio>",), "openai": ()}[form]
    assert all(any(word in text for word in stands for _, text in talk[1]) for talk in lost)


@pytest.mark.parametrize("form", FORMATS)
def test_our_own_source_reads_conversations_back(form: str, tmp_path: Path) -> None:
    source = assorted(tmp_path / "raw", 10)
    talks = [one for one in source._annotations if one.conversation]
    folder = build(ListSource(tmp_path / "raw", talks), tmp_path / "set")
    export_sets([folder], form, tmp_path / "out")
    again = LLaVA(tmp_path / "out/tiny/train.jsonl")
    again.load()
    assert said(build(again, tmp_path / "again")) == said(folder)


def said(folder: Path) -> Counter[tuple[bytes | None, str]]:
    with ShardSet(folder) as shards:
        return Counter(
            (loaded.image, repr(dialogue.messages)) for loaded in shards for dialogue in loaded.record.dialogues
        )


def test_llama_factory_lists_its_files(mixed: Path, tmp_path: Path) -> None:
    export_sets([mixed], "llama-factory", tmp_path / "out", allow_loss=True)
    listed = json.loads((tmp_path / "out/dataset_info.json").read_text(encoding="utf-8"))
    about = listed["tiny_train"]
    assert list(listed) == ["tiny_train"] and about["formatting"] == "sharegpt"
    assert (tmp_path / "out" / about["file_name"]).is_file()
    roles = {
        turn[about["tags"]["role_tag"]]
        for item in items(tmp_path / "out")
        for turn in item[about["columns"]["messages"]]
    }
    assert roles == {about["tags"]["user_tag"], about["tags"]["assistant_tag"]}
