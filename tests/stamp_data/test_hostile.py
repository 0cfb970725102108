"""Broken and hostile sets: one line where nothing can be read, else rows that account for every expression."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stamp_data.shards.reader import ShardSet
from stamp_schemas import Reject, StampError

from .raw import (
    BOX,
    FAST_OPTIONS,
    HEIGHT,
    WIDTH,
    Command,
    Raw,
    build,
    build_one,
    one_line,
    picture,
    read_set,
    reasons,
    texts,
)


def good(tmp_path: Path) -> Raw:
    """A set with one faultless record, so that there is a rest to be built."""
    raw = Raw(tmp_path / "data")
    raw.image(1)
    raw.ref(1, "kept")
    return raw


def accounted(raw: Raw, out: Path, passes: int = 1) -> Counter[str]:
    """Build, check that every expression is in a dialogue or in a reject row, and return the reasons with their losses."""
    records, rejects = build_one(raw, out, passes=passes)
    kept = sum(len(loaded.record.dialogues) for loaded in records)
    lost = sum(row.expressions for row in rejects)
    assert kept % passes == 0
    assert kept // passes + lost == raw.expressions
    assert all(row.file and row.reason and row.detail for row in rejects)
    found: Counter[str] = Counter()
    for row in rejects:
        found[row.reason] += row.expressions
    return found


# What is wrong with one annotation's segmentation -> the reason of the row that says so.
SEGMENTATIONS: dict[str, tuple[Any, str]] = {
    "none": (None, "bad-segmentation"),
    "text": ("everything", "bad-segmentation"),
    "number": (7, "bad-segmentation"),
    "empty": ([], "empty-segmentation"),
    "empty-polygon": ([[]], "degenerate-polygon"),
    "two-points": ([[1.0, 1.0, 9.0, 9.0]], "degenerate-polygon"),
    "odd": ([[1.0, 1.0, 9.0, 1.0, 9.0, 9.0, 3.0]], "degenerate-polygon"),
    "nan": ([[float("nan"), 1.0, 9.0, 1.0, 9.0, 9.0]], "polygon-not-finite"),
    "infinite": ([[float("inf"), 1.0, 9.0, 1.0, 9.0, 9.0]], "polygon-not-finite"),
    "out-of-float": ([[1e999, 1.0, 9.0, 1.0, 9.0, 9.0]], "polygon-not-finite"),
    "far-out": ([[1e9, 1.0, 2e9, 1.0, 2e9, 9.0]], "polygon-out-of-frame"),
    "outside": ([[70.0, 50.0, 90.0, 50.0, 90.0, 60.0]], "polygon-out-of-frame"),
    "negative": ([[-9.0, -9.0, -1.0, -9.0, -1.0, -1.0]], "polygon-out-of-frame"),
    "line": ([[5.0, 5.0, 5.0, 5.0, 5.0, 5.0]], "empty-mask"),
    "words": ([["a", "b", "c", "d", "e", "f"]], "bad-segmentation"),
    "nested": ([[[1.0, 1.0], [9.0, 1.0], [9.0, 9.0]]], "bad-segmentation"),
    "rle-other-size": ({"size": [10, 10], "counts": [0, 100]}, "bad-rle"),
    "rle-turned": ({"size": [WIDTH, HEIGHT], "counts": [0, WIDTH * HEIGHT]}, "bad-rle"),
    "rle-short": ({"size": [HEIGHT, WIDTH], "counts": [0, 5]}, "bad-rle"),
    "rle-long": ({"size": [HEIGHT, WIDTH], "counts": [0, WIDTH * HEIGHT + 1]}, "bad-rle"),
    "rle-negative": ({"size": [HEIGHT, WIDTH], "counts": [-5, WIDTH * HEIGHT + 5]}, "bad-rle"),
    "rle-enormous": ({"size": [HEIGHT, WIDTH], "counts": [2**62] * 4}, "bad-rle"),
    "rle-beyond-64-bits": ({"size": [HEIGHT, WIDTH], "counts": [2**70]}, "bad-rle"),
    "rle-empty": ({"size": [HEIGHT, WIDTH], "counts": [WIDTH * HEIGHT]}, "empty-mask"),
    "rle-no-counts": ({"size": [HEIGHT, WIDTH]}, "bad-segmentation"),
    "rle-no-size": ({"counts": [0, WIDTH * HEIGHT]}, "bad-segmentation"),
    "rle-text-empty": ({"size": [HEIGHT, WIDTH], "counts": ""}, "bad-rle"),
    "rle-text-nonsense": ({"size": [HEIGHT, WIDTH], "counts": "\x01\x02"}, "bad-rle"),
    "rle-text-endless": ({"size": [HEIGHT, WIDTH], "counts": "o" * 5000}, "bad-rle"),
    "rle-size-zero": ({"size": [0, 0], "counts": []}, "bad-rle"),
    "rle-size-enormous": ({"size": [10**9, 10**9], "counts": [10**18]}, "bad-rle"),
}  # fmt: skip


@pytest.mark.parametrize("name", SEGMENTATIONS)
def test_unusable_segmentation_takes_only_its_own_expressions(name: str, tmp_path: Path) -> None:
    segmentation, reason = SEGMENTATIONS[name]
    raw = good(tmp_path)
    raw.ref(1, "lost", "lost too", segmentation=segmentation)
    records, rejects = build_one(raw, tmp_path / "out")
    assert [dialogue.expression for dialogue in records[0].record.dialogues] == ["kept"]
    assert len(records[0].record.targets) == 1
    assert reason in reasons(rejects)
    assert any("1001" in row.record or "1001" in row.detail for row in rejects), "no row names the annotation"
    assert sum(row.expressions for row in rejects) == 2


@pytest.mark.parametrize(
    ("polygon", "reason"), [([[-30.0, -30.0, 90.0, -30.0, 90.0, 70.0, -30.0, 70.0]], "polygon-clipped"), (BOX, None)]
)
def test_polygon_that_sticks_out_is_cut_and_told_of(polygon: Any, reason: str | None, tmp_path: Path) -> None:
    raw = good(tmp_path)
    raw.ref(1, "it", segmentation=polygon)
    assert accounted(raw, tmp_path / "out") == (Counter({reason: 0}) if reason else Counter())


def test_good_parts_of_a_segmentation_stay_and_the_bad_one_is_told_of(tmp_path: Path) -> None:
    raw = good(tmp_path)
    raw.ref(1, "it", segmentation=[*BOX, [1.0, 1.0, 2.0, 2.0]])
    ((loaded,), (row,)) = build_one(raw, tmp_path / "out")
    assert loaded.record.targets[0].rle == loaded.record.targets[1].rle
    assert (row.reason, row.expressions) == ("degenerate-polygon", 0)


def _reference(**changes: Any) -> Any:
    def change(raw: Raw) -> None:
        ref = raw.ref(1, "lost")
        for key, value in changes.items():
            if value is KeyError:
                del ref[key]
            else:
                ref[key] = value

    return change


def _entry(kind: str, index: int, **changes: Any) -> Any:
    def change(raw: Raw) -> None:
        raw.image(2)
        raw.ref(2, "lost")
        row = getattr(raw, kind)[index]
        for key, value in changes.items():
            if value is KeyError:
                del row[key]
            else:
                row[key] = value

    return change


RECORDS = {
    "annotation-dangling": _reference(ann_id=999_999),
    "image-dangling": _reference(image_id=999_999),
    "image-of-another": _entry("refs", -1, image_id=1),
    "no-annotation-id": _reference(ann_id=KeyError),
    "annotation-id-list": _reference(ann_id=[1000, 1001]),
    "annotation-id-nothing": _reference(ann_id=None),
    "annotation-id-yes": _reference(ann_id=True),
    "no-image-id": _reference(image_id=KeyError),
    "image-id-object": _reference(image_id={}),
    "no-split": _reference(split=KeyError),
    "split-number-list": _reference(split=[1]),
    "sentence-number": _reference(sentences=[7]),
    "sentence-without-text": _reference(sentences=[{"sent_id": 1}]),
    "sentence-text-number": _reference(sentences=[{"sent_id": 1, "sent": 7}]),
    "sentence-empty": _reference(sentences=[{"sent_id": 1, "sent": ""}]),
    "sentence-blank": _reference(sentences=[{"sent_id": 1, "sent": " \n\t"}]),
    "sentence-surrogate": _reference(sentences=[{"sent_id": 1, "sent": "\ud800 man"}]),
    "sentence-control": _reference(sentences=[{"sent_id": 1, "sent": "\x00\x01"}]),
    "sentence-endless": _reference(sentences=[{"sent_id": 1, "sent": "very " * 20_000}]),
    "sentence-id-list": _reference(sentences=[{"sent_id": [], "sent": "x"}]),
    "image-without-name": _entry("images", -1, file_name=KeyError),
    "image-name-number": _entry("images", -1, file_name=7),
    "image-name-up": _entry("images", -1, file_name="../../../secret.jpg"),
    "image-name-absolute": _entry("images", -1, file_name="/etc/passwd"),
    "image-name-windows": _entry("images", -1, file_name="C:\\secret.jpg"),
    "image-name-empty": _entry("images", -1, file_name=""),
    "image-name-dot": _entry("images", -1, file_name="."),
    "image-name-nul": _entry("images", -1, file_name="a\0.jpg"),
    "image-name-line": _entry("images", -1, file_name="a\nb.jpg"),
    "image-name-endless": _entry("images", -1, file_name="x" * 100_000),
    "image-width-zero": _entry("images", -1, width=0),
    "image-width-negative": _entry("images", -1, width=-64),
    "image-width-text": _entry("images", -1, width="64 px"),
    "image-width-fraction": _entry("images", -1, width=64.5),
    "image-width-enormous": _entry("images", -1, width=2**70),
    "image-without-id": _entry("images", -1, id=KeyError),
    "image-id-nothing": _entry("images", -1, id=None),
    "annotation-without-id": _entry("annotations", -1, id=KeyError),
    "annotation-without-image": _entry("annotations", -1, image_id=KeyError),
    "annotation-without-segmentation": _entry("annotations", -1, segmentation=KeyError),
}


@pytest.mark.parametrize("name", RECORDS)
def test_one_broken_record_costs_that_record(name: str, tmp_path: Path) -> None:
    raw = good(tmp_path)
    RECORDS[name](raw)
    found = accounted(raw, tmp_path / "out", passes=2)
    assert sum(found.values()) == 1, found


@pytest.mark.parametrize("value", [7, None, "ref", [], {}, [[]], {"sentences": "x"}, {"sentences": {}}])
def test_row_that_is_no_reference_is_told_of(value: Any, tmp_path: Path) -> None:
    raw = good(tmp_path)
    raw.refs.append(value)
    raw.save()
    (built,) = build(raw.root, tmp_path / "out")
    (_, (row,)) = read_set(built.folder)
    assert (row.file, row.record, row.reason) == ("refer_seg/refcoco/refs(unc).p", "refs[1]", "bad-reference")


def test_missing_optional_keys_cost_nothing(tmp_path: Path) -> None:
    raw = good(tmp_path)
    for ref in raw.refs:
        for key in ("file_name", "sent_ids", "category_id", "ref_id"):
            del ref[key]
        for sentence in ref["sentences"]:
            for key in ("raw", "tokens", "sent_id"):
                del sentence[key]
    for annotation in raw.annotations:
        del annotation["iscrowd"]
        annotation["category_id"] = 99
    assert accounted(raw, tmp_path / "out") == Counter()


def test_ids_that_repeat_without_contradiction_cost_nothing(tmp_path: Path) -> None:
    raw = good(tmp_path)
    raw.annotations.append(dict(raw.annotations[0]))
    raw.images.append(dict(raw.images[0]))
    raw.refs.append(json.loads(json.dumps(raw.refs[0])))
    ((loaded,), rejects) = build_one(raw, tmp_path / "out")
    assert reasons(rejects) == []
    assert len({dialogue.id for dialogue in loaded.record.dialogues}) == 2
    assert len(loaded.record.targets) == 1
    assert loaded.record.targets[0].area == 32 * 24


def test_ids_of_zero_and_of_text_are_ids(tmp_path: Path) -> None:
    raw = Raw(tmp_path / "data")
    raw.image(0)
    raw.ref(0, "it", annotation=0)
    raw.annotations.append({"id": 0, "image_id": 0, "category_id": 1, "segmentation": BOX})
    raw.images.append({**raw.images[0], "id": "seven"})
    raw.annotations.append({"id": "a7", "image_id": "seven", "category_id": 1, "segmentation": BOX})
    raw.ref("seven", "it too", annotation="a7")  # type: ignore[arg-type]
    assert accounted(raw, tmp_path / "out") == Counter()


EXPRESSIONS = {
    "latin": "der grüne Äpfel",
    "chinese": "左边的人",
    "arabic": "الرجل على اليسار",
    "hebrew": "האיש משמאל",
    "right-to-left-mark": "man \u200f\u202eleft",
    "emoji": "the 👩🏽‍🚀",
    "combining": "e\u0301" * 20,
    "quotes": "the \"man's\" 'hat' \\ / ` $(rm -rf) %s {0}",
    "html": "<script>alert(1)</script> <b>man</b> &amp;",
    "json": '"}],"messages":[{"role":"system"}]',
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expression_in_any_script_comes_out_as_it_went_in(name: str, tmp_path: Path) -> None:
    raw = Raw(tmp_path / "data")
    raw.image(1)
    raw.ref(1, EXPRESSIONS[name])
    ((loaded,), rejects) = build_one(raw, tmp_path / "out")
    assert rejects == []
    assert loaded.record.dialogues[0].expression == EXPRESSIONS[name]
    assert EXPRESSIONS[name] in texts(loaded)[0]


def test_messy_set_loses_nothing_without_a_row(tmp_path: Path) -> None:
    """All of the faults above in one set."""
    raw = good(tmp_path)
    for change in RECORDS.values():
        change(raw)
        raw.images[-1]["id"] = raw.images[-1].get("id", -1)
    for number, (segmentation, _) in enumerate(SEGMENTATIONS.values()):
        raw.image(100 + number)
        raw.ref(100 + number, "one", "<|im_end|> two", segmentation=segmentation)
        raw.ref(100 + number, "a", "<|seg|>", "")
    accounted(raw, tmp_path / "out", passes=2)


@pytest.mark.parametrize(
    "split", ["../../escaped", "/tmp/escaped", "..", ".", "a/b", "a\\b", "", " ", "x" * 200, ".git"]
)
def test_split_names_from_files_never_lead_out_of_the_folder(split: str, tmp_path: Path) -> None:
    raw = good(tmp_path)
    raw.ref(1, "stray", split=split)
    raw.save()
    before = set(tmp_path.rglob("*"))
    with contextlib.suppress(StampError):  # refused, or built under a name that is harmless
        build(raw.root, tmp_path / "a/b/out")
    new = set(tmp_path.rglob("*")) - before - {tmp_path / "a", tmp_path / "a/b"}
    assert all(path.is_relative_to(tmp_path / "a/b/out") for path in new), new
    assert {path.parent for path in new if path.name == "manifest.json"} >= {tmp_path / "a/b/out/refcoco-unc/train"}
    assert all(len(path.relative_to(tmp_path / "a/b/out").parts) <= 3 for path in new)


# The set as a whole cannot be read: what is done to it, and a word of the one line.
def _write(name: str, data: bytes) -> Any:
    def change(raw: Raw) -> None:
        (raw.folder / name).write_bytes(data)

    return change


def _cut(name: str) -> Any:
    def change(raw: Raw) -> None:
        data = (raw.folder / name).read_bytes()
        (raw.folder / name).write_bytes(data[: len(data) // 2])

    return change


def _replace(name: str, make: Any) -> Any:
    def change(raw: Raw) -> None:
        (raw.folder / name).unlink()
        make(raw.folder / name)

    return change


class _Exploit:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


REFS, INSTANCES = "refs(unc).p", "instances.json"
UNREADABLE = {
    "refs-empty": _write(REFS, b""),
    "refs-text": _write(REFS, b"not a pickle"),
    "refs-cut": _cut(REFS),
    "refs-json": _write(REFS, b"[]"),
    "refs-object": _write(REFS, pickle.dumps({"a": 1}, protocol=0)),
    "refs-number": _write(REFS, pickle.dumps(7, protocol=0)),
    "refs-none": _write(REFS, pickle.dumps([], protocol=0)),
    "refs-folder": _replace(REFS, Path.mkdir),
    "refs-pipe": _replace(REFS, os.mkfifo),
    "refs-gone": _replace(REFS, Path.resolve),
    "refs-code": _write(REFS, pickle.dumps([_Exploit("touch exploited")], protocol=0)),
    "refs-code-2": _write(REFS, pickle.dumps([_Exploit("touch exploited")], protocol=2)),
    "refs-code-4": _write(REFS, pickle.dumps([_Exploit("touch exploited")], protocol=4)),
    "refs-deep": _write(REFS, b"(" * 100_000 + b"l" * 100_000 + b"."),
    "instances-empty": _write(INSTANCES, b""),
    "instances-cut": _cut(INSTANCES),
    "instances-text": _write(INSTANCES, b"<html>404</html>"),
    "instances-list": _write(INSTANCES, b"[]"),
    "instances-bare": _write(INSTANCES, b"{}"),
    "instances-null": _write(INSTANCES, b"null"),
    "instances-deep": _write(INSTANCES, b"[" * 100_000),
    "instances-binary": _write(INSTANCES, bytes(range(256)) * 10),
    "instances-utf16": _write(INSTANCES, '{"images": []}'.encode("utf-16")),
    "instances-folder": _replace(INSTANCES, Path.mkdir),
    "instances-pipe": _replace(INSTANCES, os.mkfifo),
    "instances-no-images": _write(INSTANCES, b'{"images": [], "annotations": [], "categories": []}'),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_set_is_one_line_and_builds_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = good(tmp_path)
    raw.save()
    UNREADABLE[name](raw)
    with pytest.raises(StampError) as fault:
        build(raw.root, tmp_path / "out")
    assert fault.value.exit_code == 1
    assert "\n" not in str(fault.value)
    assert "refcoco" in fault.value.message
    assert not list(tmp_path.rglob("exploited"))
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.parametrize("name", ["refs-code-2", "instances-cut", "refs-pipe"])
def test_unreadable_set_on_the_command_line(name: str, stamp_data: Command, tmp_path: Path) -> None:
    raw = good(tmp_path)
    raw.save()
    UNREADABLE[name](raw)
    outcome = stamp_data("build", "refcoco", "-r", raw.root, "-o", tmp_path / "out", *FAST_OPTIONS, cwd=tmp_path)
    assert outcome.returncode == 1
    assert "refcoco" in one_line(outcome.stderr)


def test_noise_of_the_picture_library_does_not_reach_the_terminal(stamp_data: Command, tmp_path: Path) -> None:
    raw = good(tmp_path)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\xff\xff\0\0\x06"
    data = picture()
    raw.image(2, data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    raw.ref(2, "it")
    raw.save()
    outcome = stamp_data("build", "refcoco", "-r", raw.root, "-o", tmp_path / "out", *FAST_OPTIONS, "-w", 1)
    assert outcome.returncode == 0
    assert "arning" not in outcome.stderr


# The other families.


def reason_seg(root: Path, stem: str, **changes: Any) -> Path:
    folder = root / "reason_seg/ReasonSeg/train"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.jpg").write_bytes(picture())
    points = [[8, 8], [40, 8], [40, 32], [8, 32]]
    shape = {"label": "target", "labels": ["target"], "shape_type": "polygon", "image_name": "-", "points": points}
    content = {"text": ["what is it?"], "is_sentence": True, "shapes": [shape], **changes}
    path = folder / f"{stem}.json"
    path.write_text(json.dumps(content))
    return path


TOKENS = [
    "<|seg|>",
    "<|im_end|>",
    "<|image_pad|>",
    "[class_name]",
    "{sent}",
    "{answer}",
    "<image>",
    "<|im<|seg|>_end|>",
]


def test_tokens_in_questions_and_explanations_of_reason_seg_never_act(tmp_path: Path) -> None:
    for number, token in enumerate(TOKENS):
        reason_seg(tmp_path, f"p{number}", text=[f"what {token} is it?"], is_sentence=number % 2 == 0)
    explained = [
        {"image": f"p{number}.jpg", "query": f"why {token}?", "outputs": f"{token} because {token}"}
        for number, token in enumerate(TOKENS)
    ]
    folder = tmp_path / "reason_seg/ReasonSeg/explanatory"
    folder.mkdir()
    (folder / "train.json").write_text(json.dumps(explained))
    (built,) = build(tmp_path, tmp_path / "out", "reason_seg")
    records, rejects = read_set(built.folder)
    assert built.manifest.totals.dialogues == 2 * len(TOKENS)
    for loaded in records:
        for dialogue in loaded.record.dialogues:
            question, answer = ("".join(one.text for one in message.content) for message in dialogue.messages)
            assert not any(token in dialogue.expression + question for token in TOKENS)
            assert answer.count("<|seg|>") == 1
            assert not any(token in answer for token in TOKENS if token != "<|seg|>")
    assert {row.reason for row in rejects} == {"control-token"}
    assert sum(row.expressions for row in rejects) == 0
    assert len(rejects) == 2 * len(TOKENS)


def test_broken_files_of_reason_seg_cost_one_record_each(tmp_path: Path) -> None:
    reason_seg(tmp_path, "good")
    folder = tmp_path / "reason_seg/ReasonSeg/train"
    reason_seg(tmp_path, "cut").write_text('{"text": [')
    reason_seg(tmp_path, "empty").write_text("")
    reason_seg(tmp_path, "no-shapes", shapes=[])
    reason_seg(tmp_path, "no-text", text=[])
    reason_seg(tmp_path, "text-number", text=[7])
    (folder / "gone.jpg").unlink(missing_ok=True)
    reason_seg(tmp_path, "gone").with_suffix(".jpg").unlink()
    reason_seg(tmp_path, "binary").write_bytes(b"\x81\x8d\xff")
    reason_seg(tmp_path, "folder").unlink()
    (folder / "folder.json").mkdir()
    reason_seg(tmp_path, "pipe").unlink()
    os.mkfifo(folder / "pipe.json")
    reason_seg(tmp_path, "dangling").unlink()
    (folder / "dangling.json").symlink_to("nowhere")
    (built,) = build(tmp_path, tmp_path / "out", "reason_seg")
    records, rejects = read_set(built.folder)
    assert [loaded.record.source.image_id for loaded in records] == ["good"]
    stems = {"cut", "empty", "no-shapes", "no-text", "text-number", "gone", "binary", "folder", "pipe", "dangling"}
    named = {stem for stem in stems for row in rejects if stem in (Path(row.file).stem, row.record)}
    assert named == stems


def llava(root: Path, rows: list[Any]) -> None:
    (root / "coco/train2017").mkdir(parents=True, exist_ok=True)
    (root / "coco/train2017/1.jpg").write_bytes(picture())
    (root / "llava_v1_5_mix665k.json").write_text(json.dumps(rows))


def chat(*turns: str, **more: Any) -> dict[str, Any]:
    speakers = ("human", "gpt")
    return {
        "conversations": [{"from": speakers[number % 2], "value": turn} for number, turn in enumerate(turns)],
        **more,
    }


def test_tokens_in_conversations_never_act(tmp_path: Path) -> None:
    rows = [chat(f"<image>\nwhat {token}?", f"this {token} thing", "and?", token + " no") for token in TOKENS]
    for row in rows:
        row["image"] = "coco/train2017/1.jpg"
    llava(tmp_path, [*rows, *(chat(f"hi {token}", f"{token} hello") for token in TOKENS)])
    (built,) = build(tmp_path, tmp_path / "out", "llava")
    records, rejects = read_set(built.folder)
    pointing = [token for token in TOKENS if "image" in token or token == "<|vision_start|>"]
    assert len(records) == 2 * len(TOKENS) - len(pointing)
    for loaded in records:
        assert not any(token in text for token in TOKENS for text in texts(loaded))
        assert loaded.row.masks == [0]
        pictures = sum(c.type == "image" for d in loaded.record.dialogues for m in d.messages for c in m.content)
        assert pictures == (loaded.image is not None)
    assert len({row.record for row in rejects}) == 2 * len(TOKENS)
    refused = [row.reason for row in rejects if row.action != "cleaned"]
    assert refused == ["no-picture"] * len(pointing) and pointing, "a question that points at a picture needs one"


def test_conversations_are_kept_or_told_of(tmp_path: Path) -> None:
    image = {"image": "coco/train2017/1.jpg"}
    rows = [
        chat("<image>\nwhat?", "this", **image),
        chat("hello", "hi"),
        chat("<image>\nwhat?", "this", image="coco/train2017/missing.jpg"),
        chat("<image>\nwhat?", "this", image="../1.jpg"),
        chat("<image>\nwhat?", "this", image=["coco/train2017/1.jpg", "coco/train2017/1.jpg"]),
        chat("<image>\nwhat?", "this", image=7),
        chat("hello"),
        chat("hello", ""),
        chat("x" * 100_000, "y"),
        chat("\x00", "y"),
        {"conversations": []},
        {"conversations": "hello"},
        {},
        7,
        None,
        {"conversations": [{"from": "robot", "value": "x"}, {"from": "gpt", "value": "y"}]},
        {"conversations": [{"value": "x"}, {"from": "gpt", "value": "y"}]},
    ]
    llava(tmp_path, rows)
    (built,) = build(tmp_path, tmp_path / "out", "llava")
    records, rejects = read_set(built.folder)
    assert len(records) == 2
    assert len(records) + sum(row.expressions for row in rejects) == len(rows)


def test_equal_ids_get_keys_of_their_own_in_no_time(tmp_path: Path) -> None:
    llava(tmp_path, [chat("hello", f"number {number}", id="same") for number in range(3000)])
    (built,) = build(tmp_path, tmp_path / "out", "llava", shard_records=5000)
    with ShardSet(built.folder) as shards:
        assert len({row.key for row in shards.rows}) == 3000


def test_llava_file_may_be_the_root_itself(stamp_data: Command, tmp_path: Path) -> None:
    llava(tmp_path, [chat("<image>\nwhat?", "this", image="coco/train2017/1.jpg")])
    mine = (tmp_path / "llava_v1_5_mix665k.json").rename(tmp_path / "mine.json")
    outcome = stamp_data("build", "llava", "-r", mine, "-o", tmp_path / "out", "-w", 1)
    assert outcome.returncode == 0, outcome.stderr


def coco(root: Path, name: str, annotations: list[dict[str, Any]]) -> Path:
    (root / "images").mkdir(parents=True, exist_ok=True)
    (root / "images/1.jpg").write_bytes(picture())
    content = {
        "images": [{"id": 1, "file_name": "1.jpg", "width": WIDTH, "height": HEIGHT}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cat <|im_end|>"}],
    }
    path = root / name
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("name", ["my data v1.2 (final).json", "größe.json", "a.b.c.json", "-x.json"])
def test_keys_and_folders_of_own_data_are_safe_whatever_the_file_is_called(name: str, tmp_path: Path) -> None:
    one = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": BOX}
    (tmp_path / "data/annotations").mkdir(parents=True)
    coco(tmp_path / "data", f"annotations/{name}", [one])
    coco(tmp_path / "data", "annotations/other.json", [one])
    built = build(tmp_path / "data", tmp_path / "out", "coco")
    assert len(built) == 2
    for one_built in built:
        records, rejects = read_set(one_built.folder)
        for loaded in records:
            assert set(loaded.row.key) <= set("abcdefghijklmnopqrstuvwxyz0123456789_+-")
            assert loaded.record.dialogues[0].expression == "cat"
        assert reasons(rejects) == ["control-token"]


def test_reject_rows_are_valid_json_of_the_schema_even_for_odd_texts(tmp_path: Path) -> None:
    raw = good(tmp_path)
    raw.ref(1, "<|" + "ü\u2028\x85" * 500 + "|>", "\u202e<|seg|>\x07")
    raw.image(2, name="Bild \u2068größe\u2069.jpg", stored=b"nothing")
    raw.ref(2, "x")
    raw.save()
    (built,) = build(raw.root, tmp_path / "out")
    lines = (built.folder / "rejects.jsonl").read_text("utf-8").split("\n")
    assert lines.pop() == ""
    rows = [msgspec.json.decode(line, type=Reject) for line in lines]
    assert len(rows) == built.manifest.totals.rejects >= 3
    assert all(len(row.detail) <= 300 for row in rows)


@pytest.mark.skipif(not shutil.which("mkfifo"), reason="no pipes here")
def test_pipe_among_annotation_files_does_not_stop_all(tmp_path: Path) -> None:
    """`build all`: what stands where a file should be is a fault of that set, and the others are built."""
    raw = good(tmp_path)
    raw.save()
    os.mkfifo(raw.root / "llava_v1_5_mix665k.json")
    built = build(raw.root, tmp_path / "out", "all")
    assert [one.manifest.name for one in built] == ["refcoco-unc/train"]


def test_file_names_that_are_no_utf8_are_told_of(tmp_path: Path) -> None:
    """As a zip archive from another system leaves them: the name cannot be written into any JSON as it is."""
    reason_seg(tmp_path, "good")
    folder = os.fsencode(tmp_path / "reason_seg/ReasonSeg/train")
    for suffix in (b".json", b".jpg"):
        shutil.copy(folder + b"/good" + suffix, folder + b"/gr\xfc\xdfe" + suffix)
    (built,) = build(tmp_path, tmp_path / "out", "reason_seg")
    records, rejects = read_set(built.folder)
    assert [loaded.record.source.image_id for loaded in records] == ["good"]
    assert len(rejects) == 1
    (again,) = build(tmp_path, tmp_path / "out", "reason_seg")
    assert again.rendered == 0
