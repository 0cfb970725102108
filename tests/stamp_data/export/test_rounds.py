"""Joined dialogues on their way out: where a format has no rounds, each comes out as the requests that it was joined of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from stamp_data.export import export_sets
from stamp_data.shards.reader import ShardSet
from stamp_data.synth import synthesize
from stamp_schemas import Annotation, ImageRef, Request, Target

from ..making import ListSource, box, draw
from ..making import build as make
from ..raw import build


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """gRefCOCO's train split, as it is and joined."""
    root = tmp_path_factory.mktemp("rounds")
    synthesize(root / "raw", images=60, size=(128, 96), seed=5)
    folders = [root / str(rounds) / "grefcoco-unc/train" for rounds in (1, 3)]
    for folder, rounds in zip(folders, (1, 3), strict=True):
        build(root / "raw", folder.parents[1], "grefcoco", splits=("train",), rounds=rounds, passes=2)
    return folders[0], folders[1]


def exported(folder: Path, form: str, out: Path) -> dict[str, Any]:
    """The JSON files of an export by name."""
    export_sets([folder], form, out, allow_loss=True)
    return {path.relative_to(out).as_posix(): json.loads(path.read_text()) for path in sorted(out.rglob("*.json"))}


def sorted_items(found: Any, *left_out: str) -> list[str]:
    return sorted(json.dumps({key: one[key] for key in one if key not in left_out}, sort_keys=True) for one in found)


def test_coco_has_the_same_phrases_and_dialogues_ask_for_the_same(sets: tuple[Path, Path], tmp_path: Path) -> None:
    ((name, alone),) = exported(sets[0], "coco", tmp_path / "alone").items()
    joined = exported(sets[1], "coco", tmp_path / "joined")[name]
    assert sorted_items(joined["refs"], "ref_id", "messages") == sorted_items(alone["refs"], "ref_id", "messages")
    for one in [*joined["annotations"], *alone["annotations"]]:
        one["expressions"].sort()
    assert joined["annotations"] == alone["annotations"]
    assert all(ref["messages"][0]["content"][0]["type"] == "image" for ref in joined["refs"])


@pytest.mark.parametrize("form", ["coco", "labelme"])
def test_an_answer_that_refers_to_a_mask_is_no_answer_in_words(
    form: str, sets: tuple[Path, Path], tmp_path: Path
) -> None:
    report = export_sets([sets[1]], form, tmp_path / "out", allow_loss=True)
    with ShardSet(sets[1]) as shards:
        rounds = [one.rounds for loaded in shards for one in loaded.record.dialogues if one.rounds is not msgspec.UNSET]
    assert any(one.reference for some in rounds for one in some)
    assert not [loss for loss in report.losses if loss.what == "answers"]


def test_labelme_has_the_same_shapes(sets: tuple[Path, Path], tmp_path: Path) -> None:
    alone, joined = (exported(folder, "labelme", tmp_path / folder.parts[-3]) for folder in sets)
    assert alone.keys() == joined.keys()
    for name, file in alone.items():
        assert sorted_items(joined[name]["shapes"], "group_id") == sorted_items(file["shapes"], "group_id")
        assert joined[name]["flags"] == file["flags"]


def test_json_and_hugging_face_keep_the_rounds(sets: tuple[Path, Path], tmp_path: Path) -> None:
    with ShardSet(sets[1]) as shards:
        joined = [one for loaded in shards for one in loaded.record.dialogues if one.rounds is not msgspec.UNSET]
    (items,) = exported(sets[1], "json-png", tmp_path / "png").values()
    found = [one for one in items if "expressions" in one]
    assert [one["expressions"] for one in found] == [one.expressions for one in joined]
    assert [len(one["masks"]) for one in found] == [len(one.targets) for one in joined]
    export_sets([sets[1]], "hf", tmp_path / "hf")
    rows = [row for path in (tmp_path / "hf").rglob("*.parquet") for row in pq.read_table(path).to_pylist()]
    said = {expression for row in rows for expression in row["expressions"]}
    assert {expression for one in joined for expression in one.expressions} <= said


@pytest.mark.parametrize("form", ["coco", "labelme", "label_studio", "masks", "saco"])
def test_what_is_lost_is_counted_by_the_requests(form: str, sets: tuple[Path, Path], tmp_path: Path) -> None:
    """In both sets the same phrases are held and lost, whatever they are joined with."""
    reports = [export_sets([one], form, tmp_path / one.parts[-3], allow_loss=True) for one in sets]
    found = [[getattr(one, what) for what in ("found", "written")] for one in reports]
    assert found[0] == found[1]
    assert [(loss.code, loss.what, loss.count) for loss in reports[0].losses] == [
        (loss.code, loss.what, loss.count) for loss in reports[1].losses
    ]


def test_of_a_joined_dialogue_one_part_may_be_lost(tmp_path: Path) -> None:
    """The words of two requests mean two masks; the others go out."""
    targets = [Target("left", [box(0, 0, 9, 9)], ["1"]), Target("right", [box(20, 0, 29, 9)], ["2"])]
    requests = [
        Request(str(number), text, [target], ("tiny.json", "x"))
        for number, (text, target) in enumerate([("a dog", 0), ("a dog", 1), ("a cat", 1), ("a cow", 0)])
    ]
    picture = ImageRef(draw(tmp_path / "raw", "a.png", 40, 30, 1))
    folder = make(
        ListSource(tmp_path / "raw", [Annotation("1", ("tiny.json", "x"), picture, targets, requests)]),
        tmp_path / "sets",
        rounds=4,
    )
    with ShardSet(folder) as shards:
        assert [len(one.rounds) for loaded in shards for one in loaded.record.dialogues] == [4]
    report = export_sets([folder], "masks", tmp_path / "out", allow_loss=True)
    (lost,) = [json.loads(line) for line in (tmp_path / "out/losses.jsonl").read_text().splitlines()]
    assert (lost["code"], lost["what"], lost["count"]) == ("same-words", "dialogues", 1)
    assert (report.found.dialogues, report.written.dialogues) == (4, 3) and " 3 dialogues, " in report.summary()
    rows = [json.loads(line) for line in (tmp_path / "out/tiny/train.jsonl").read_text().splitlines()]
    assert sum(len(row["phrase"]) for row in rows) == 3
