"""Scores against loops written without our code; which masks count for which target; damage; work cut off anywhere."""

from __future__ import annotations

import json
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from stamp_schemas import StampError, UsageFault
from stamp_train.eval.cases import Case, CaseSet, Mask, open_sets
from stamp_train.eval.evaluator import Batch, Evaluator, gather, make_batches
from stamp_train.eval.metrics import Summary
from stamp_train.eval.scoring import Line, Scorer
from stamp_train.sequence.errors import StampModelError

from ..runs import make_shards
from .made_sets import SIDE, Known, dialogue, square, target, write_set


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"))


def blobs(case: Case) -> list[Mask]:
    """Between no and two rectangles, by the case's name: some over the truth."""
    rng = random.Random(case.id)
    height, width = case.truths[0].mask.shape
    found = []
    for _ in range(rng.choice([0, 1, 1, 1, 2])):
        mask = case.truths[0].mask.copy() if rng.random() < 0.5 else np.zeros((height, width), bool)
        top, left = rng.randrange(height - 8), rng.randrange(width - 8)
        mask[top : top + 8, left : left + rng.randrange(9)] ^= True
        found.append(mask)
    return found


def examined(batches: Sequence[Batch], runner: Known, folder: Path, **scoring: int) -> list[Line]:
    Evaluator(runner, Scorer("bilinear", **scoring), ["free"]).run(batches, folder)
    return gather(batches, folder)


def records_of(folder: Path) -> list[dict]:
    """The records of a set, read without our reader."""
    found = []
    for shard in sorted(folder.glob("shard-*.tar")):
        with tarfile.open(shard) as tar:
            found += [json.load(tar.extractfile(member)) for member in tar if member.name.endswith(".json")]
    return found


def test_scores_are_those_of_a_plain_loop(shards: Path, tmp_path: Path) -> None:
    """Every sentence once, with its own mask, whatever the batches are."""
    folders = [shards / "refcoco-unc/val", shards / "grefcoco-unc/val"]
    sets = [CaseSet(folder) for folder in folders]
    lines = examined(make_batches(sets, 4), Known(blobs), tmp_path / "four")
    assert lines == examined(make_batches(sets, 4), Known(blobs), tmp_path / "four")  # nothing is done again
    assert lines == examined(make_batches(sets, 100), Known(blobs), tmp_path / "hundred")
    by_id = {line.id: line for line in lines}
    assert len(by_id) == len(lines) == sum(len(record["dialogues"]) for one in folders for record in records_of(one))
    for folder in folders:
        intersections, unions, ious = 0, 0, []
        for record in records_of(folder):
            for one in record["dialogues"]:
                rle = record["targets"][one["targets"][0]]["rle"]
                truth = coco_mask.decode({"size": rle["size"], "counts": rle["counts"].encode()}).astype(bool)
                line = by_id[f"{record['key']}/{one['id']}"]
                assert line.expression == one["expression"] in one["messages"][0]["content"][1]["text"]
                drawn = coco_mask.decode({"size": line.size, "counts": line.counts.encode()}).astype(bool)
                case = Case(line.id, "", [], "", [type("Truth", (), {"mask": truth})()])
                expected = np.logical_or.reduce([np.zeros_like(truth), *blobs(case)])
                assert np.array_equal(drawn, expected)
                assert ("no_seg" in line.flags) == (not blobs(case)) and ("several_masks" in line.flags) == (
                    len(blobs(case)) > 1
                )
                intersections += int((drawn & truth).sum())
                unions += int((drawn | truth).sum())
                ious.append(1.0 if not (drawn | truth).any() else (drawn & truth).sum() / (drawn | truth).sum())
                assert line.iou == pytest.approx(ious[-1], abs=1e-6)
        summary = Summary([line.score for line in lines if line.score and line.set == f"{folder.parent.name}/val"])
        metrics = summary.metrics("stamp")
        assert metrics["ciou"] == pytest.approx(intersections / unions)
        assert metrics["giou"] == pytest.approx(np.mean(ious))


def test_the_pictures_cases_go_through_together(shards: Path, tmp_path: Path) -> None:
    known = Known(blobs)
    batches = make_batches([CaseSet(shards / "refcoco-unc/val")], 1)
    examined(batches, known, tmp_path)
    assert [len({case.partition("/")[0] for case in asked}) for asked in known.asked] == [1] * len(batches)
    assert len(batches) == len(records_of(shards / "refcoco-unc/val"))


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        ([], [0, 0]),
        ([0], [1, 0]),
        ([1], [0, 0]),
        ([0, 1], [1, 1]),
        ([0, 2, 1], [1, 0.5]),  # what is left over goes to the last target
    ],
)
def test_mask_k_is_for_target_k(drawn: list[int], expected: list[float], tmp_path: Path) -> None:
    masks = [square(0, 0, 4), square(8, 8, 4), square(16, 16, 4)]
    one = dialogue("d", "two things", [0, 1], "Where?", "Here: <|seg|> <|seg|>")
    folder = write_set(tmp_path / "made/val", [([target(str(i), mask) for i, mask in enumerate(masks[:2])], [one])])
    lines = examined(make_batches([CaseSet(folder)], 4), Known(lambda _: [masks[i] for i in drawn]), tmp_path / "out")
    assert [line.iou for line in lines] == expected
    assert [line.target for line in lines] == [0, 1]
    flag = "no_seg" if not drawn else "fewer_masks" if len(drawn) < 2 else "several_masks" if len(drawn) > 2 else ""
    assert all(line.flags == [flag] * bool(flag) for line in lines)


def test_later_answers_are_cases_of_their_own(tmp_path: Path) -> None:
    """What was said before, true masks' tokens included, belongs to the question."""
    turns = ("Where is the dog?", "It is <|seg|>.", "What is it?", "A dog.", "And the cat?", "Here <|seg|>, too.")
    one = dialogue("d", "dog", [1, 0], *turns)
    folder = write_set(tmp_path / "made/val", [([target("a", square(0, 0, 3)), target("b", square(5, 5, 3))], [one])])
    (source,), _ = open_sets([folder])
    first, second = source.load(source.rows[0]).cases
    assert (first.id, second.id) == ("made-000/d", "made-000/d/5")
    assert (first.begin, second.begin) == ("It is <|seg|>", "Here <|seg|>")
    assert first.messages == [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": turns[0]}]}]
    assert [message["content"][-1]["text"] for message in second.messages] == list(turns[:5])
    assert np.array_equal(first.truths[0].mask, square(5, 5, 3))
    assert np.array_equal(second.truths[0].mask, square(0, 0, 3))


def test_ignored_pixels_and_small_masks(tmp_path: Path) -> None:
    records = [
        ([target("seen", square(0, 0, 4), square(10, 10, 8))], [dialogue("d", "it", [0], "Where?", "<|seg|>")]),
        ([target("none", np.zeros((SIDE, SIDE), bool))], [dialogue("d", "no", [0], "Where?", "<|seg|>")]),
    ]
    folder = write_set(tmp_path / "made/val", records)
    batches = make_batches([CaseSet(folder)], 4)
    runner = Known(lambda case: [square(0, 0, 4) | square(12, 12, 3)] if case.expression == "it" else [square(0, 0, 2)])
    seen, none = examined(batches, runner, tmp_path / "plain")
    assert seen.iou == 1.0 and none.iou == 0.0
    assert none.score is not None and none.score.no_target and not none.score.told_none
    _, none = examined(batches, runner, tmp_path / "tolerant", no_target_pixels=5)
    assert none.iou == 1.0 and none.score is not None and none.score.told_none


def test_passes_of_a_training_set_are_one_case(tmp_path: Path) -> None:
    said = [dialogue(f"0-p{i}", "it", [0], "Where?", "<|seg|>") for i in range(2)]
    folder = write_set(tmp_path / "made/train", [([target("a", square(0, 0, 3))], said)], passes=2)
    assert len(CaseSet(folder)) == 1


def test_fixed_prompts_ask_all_alike(shards: Path) -> None:
    source = CaseSet(shards / "refcoco-unc/val", "fixed")
    cases = [case for row in source.rows for case in source.load(row).cases]
    asked = [case.messages[0]["content"][1]["text"] for case in cases]
    assert asked == [f"Please segment only the {case.expression} in the image." for case in cases]


def test_sets_without_masks(shards: Path) -> None:
    with pytest.raises(StampError, match="llava/train: no masks to score"):
        open_sets([shards / "llava"])
    sets, without = open_sets([shards / "llava", shards / "refcoco-unc/val"])
    assert ([one.name for one in sets], without) == (["refcoco-unc/val"], ["llava/train"])


def test_one_name_twice(shards: Path, tmp_path: Path) -> None:
    again = write_set(
        tmp_path / "refcoco-unc/val", [([target("a", square(0, 0, 3))], [dialogue("d", "", [0], "?", "<|seg|>")])]
    )
    with pytest.raises(UsageFault, match="two sets are called refcoco-unc/val"):
        open_sets([shards / "refcoco-unc/val", again])


def test_damage_is_named_and_takes_nothing_along(shards: Path, tmp_path: Path) -> None:
    """A flipped byte in a picture, and a record that points at a target that it has not."""
    clean = examined(make_batches([CaseSet(shards / "refcoco-unc/val")], 4), Known(blobs), tmp_path / "clean")
    folder = tmp_path / "refcoco-unc/val"
    folder.parent.mkdir()
    source = CaseSet(shards / "refcoco-unc/val")
    folder.mkdir()
    for file in Path(source.shards.place).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    row = source.rows[1]
    data = bytearray((folder / row.shard).read_bytes())
    data[row.image_offset + 100] ^= 1
    (folder / row.shard).write_bytes(data)
    lines = examined(make_batches([CaseSet(folder)], 4), Known(blobs), tmp_path / "damaged")
    lost = [line for line in lines if line.flags == ["damaged"]]
    assert [line.id for line in lost] == [f"{row.key}/#{i}" for i in range(row.dialogues)]
    assert all("damaged (bytes differ from the index)" in line.fault and row.key in line.fault for line in lost)
    assert [line for line in lines if line not in lost] == [line for line in clean if not line.id.startswith(row.key)]

    good, bad = dialogue("good", "it", [0], "?", "<|seg|>"), dialogue("bad", "it", [3], "?", "<|seg|>")
    twin, mute = dialogue("good", "other", [0], "?", "<|seg|>"), dialogue("mute", "it", [0], "?", "Nothing")
    made = write_set(tmp_path / "made/val", [([target("a", square(0, 0, 3))], [good, bad, twin, mute])])
    lines = examined(make_batches([CaseSet(made)], 4), Known(lambda _: []), tmp_path / "made-out")
    assert {line.id: line.fault for line in lines if line.fault} == {
        "made-000/#1": "made-000.json: target 3 of 1",
        "made-000/#2": "made-000.json: two dialogues are called 'good'",
        "made-000/#3": "made-000.json: dialogue mute has 1 targets, its answers 0 <|seg|>",
    }
    assert [line.id for line in lines if line.score] == ["made-000/good"]


def test_some_records_of_a_set_are_its_first_with_all_their_cases(shards: Path) -> None:
    whole, some = CaseSet(shards / "refcoco-unc/val"), CaseSet(shards / "refcoco-unc/val", records=2)
    assert [row.key for row in some.rows] == [row.key for row in whole.rows[:2]]
    assert len(some) == sum(map(whole.count, whole.rows[:2])) < len(whole)


def test_wordings_of_a_case_are_all_that_its_build_could_have_drawn(shards: Path) -> None:
    source = CaseSet(shards / "refcoco-unc/val")
    for row in source.rows:
        found = source.wordings(row)
        cases = {case.id: case for case in source.load(row).cases}
        assert found.keys() == cases.keys()
        for name, answers in found.items():
            assert len(answers) > 1 and all(answer.count("<|seg|>") == 1 for answer in answers)
            assert any(answer.startswith(cases[name].begin) for answer in answers)


def test_a_case_that_the_model_refuses(shards: Path, tmp_path: Path) -> None:
    """The others of its batch are answered all the same."""

    class Choosy(Known):
        def answer(self, images: Sequence, mode: str) -> list:
            if any(one.key == refused for one in images):
                raise StampModelError("too long", where="image 0, prompt 0")
            return super().answer(images, mode)

    source = CaseSet(shards / "refcoco-unc/val")
    refused = source.rows[1].key
    lines = examined(make_batches([source], 100), Choosy(blobs), tmp_path / "choosy")
    whole = examined(make_batches([source], 100), Known(blobs), tmp_path / "whole")
    assert [line for line in lines if line.score] == [line for line in whole if not line.id.startswith(refused)]
    assert {line.id for line in lines if "too long" in line.fault} == {
        one.id for one in whole if one.id.startswith(refused)
    }


@pytest.mark.parametrize("seed", range(6))
def test_cut_off_anywhere_it_goes_on(seed: int, shards: Path, tmp_path: Path) -> None:
    """The files of two processes cut at random bytes, gone on with by three: every case once, the same lines."""
    rng = random.Random(seed)
    sets = [CaseSet(shards / "refcoco-unc/val"), CaseSet(shards / "grefcoco-unc/val")]
    batches = make_batches(sets, 3)
    whole = examined(batches, Known(blobs), tmp_path / "whole")
    out = tmp_path / "cut"
    for rank in range(2):
        Evaluator(Known(blobs), Scorer("bilinear"), ["free"]).run(batches, out, rank, 2)
    done = 0
    for part in sorted((out / "parts").iterdir()):
        data = part.read_bytes()[: rng.randrange(part.stat().st_size)]
        part.write_bytes(data)
        done += data.count(b'{"batch"') - (not data.endswith(b"\n") and b'{"batch"' in data.rpartition(b"\n")[2])
    runners = [Known(blobs) for _ in range(3)]
    with pytest.raises(StampError, match="cases are not done"):
        gather(batches, out)
    for rank in (2, 0, 1):
        Evaluator(runners[rank], Scorer("bilinear"), ["free"]).run(batches, out, rank, 3)
    assert gather(batches, out) == whole
    assert sum(len(one.asked) for one in runners) == len(batches) - done
