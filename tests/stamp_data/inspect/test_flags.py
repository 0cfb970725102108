"""Every flag: raised on the record that earns it, not on one that does not, and explained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stamp_data.inspect.checks import CHECKS
from stamp_data.inspect.flags import FLAGS, explain
from stamp_data.inspect.inspection import inspect_sets
from stamp_data.inspect.selection import Selection
from stamp_schemas import RLE, Content, Message, UsageFault

from ..handmade import Made
from .scenes import Scene, picture, write_set

DOG, CAT, WIDE = (10, 10, 60, 60), (90, 10, 140, 60), (10, 70, 150, 110)


def good() -> Scene:
    return Scene("good").target("a", DOG).target("b", CAT, "cat").says("the dog", [0], passes=2).says("the cat", [1])


def damaged(change: Callable[[Made], object]) -> Made:
    made = good().made()
    change(made)
    return made


def shrink_mask(made: Made) -> None:
    made.record.targets[0].rle = RLE((60, 80), "PP\\9")


def say(text: str) -> Callable[[Made], None]:
    def change(made: Made) -> None:
        made.record.dialogues[0].expression = text

    return change


def answer(text: str) -> Callable[[Made], None]:
    def change(made: Made) -> None:
        made.record.dialogues[0].messages[1] = Message("assistant", [Content("text", text)])

    return change


def specks() -> Made:
    mask = np.zeros((480, 640), np.uint8)
    mask[10:170, 10:170] = 1
    mask[400, 500] = 1
    return Scene("k", 640, 480).masked("a", mask).says("the dog", [0]).made()


def kite() -> Made:
    """A body of a patch or two with a tail that is too thin for any patch."""
    mask = np.zeros((480, 640), np.uint8)
    mask[34:70, 34:70] = 1
    mask[50:54, 70:600] = 1
    return Scene("k", 640, 480).masked("a", mask).says("the kite", [0]).made()


def mirrored() -> Made:
    """Two dogs, of which the right one is called the left one."""
    return Scene("k").target("a", DOG).target("b", CAT).says("left dog", [1]).says("the dog over there", [0]).made()


def turned(orientation: int = 6) -> Made:
    made = good().made()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0%c\0\0\0\0\0\0" % orientation
    made.image = picture(160, 120, 0, exif=exif)
    return made


CASES = {
    "STP-E001": lambda: damaged(lambda made: setattr(made, "image", made.image[:300])),
    "STP-E002": lambda: damaged(shrink_mask),
    "STP-E003": lambda: Scene("k").target("a", None, "dog", ["a"]).says("the dog", [0]).made(),
    "STP-E004": lambda: Scene("k").target("none", DOG, "dog", []).says("the dog", [0]).made(),
    "STP-E005": lambda: damaged(say("a \x1b[31mred dog")),
    "STP-E006": lambda: damaged(answer("No mask at all.")),
    "STP-W001": lambda: good().says("The dog.", [0]).made(),
    "STP-W002": lambda: good().says("the dog", [1]).made(),
    "STP-W003": lambda: Scene("k").target("a", (30, 30, 32, 32)).says("the ant", [0]).made(),
    "STP-W004": kite,
    "STP-W005": lambda: Scene("k").target("a", (0, 0, 160, 120)).says("it", [0]).made(),
    "STP-W007": turned,
    "STP-W010": mirrored,
    "STP-I001": lambda: Scene("k").target("a", DOG).target("b", CAT).says("a dog", [0]).says("that one", [1]).made(),
    "STP-I002": specks,
    "STP-I003": lambda: damaged(say("the dog,left ofthe tree")),
    "STP-I004": lambda: damaged(say("a dog " * 60)),
}


@pytest.mark.parametrize("code", CASES)
def test_flag_is_raised_and_alone(code: str, tmp_path: Path) -> None:
    write_set(tmp_path, [CASES[code](), good().made()])
    report = inspect_sets([tmp_path], everything=True)
    found = {flag.code: flag for flag in report.flags}
    assert code in found, found
    assert found[code].records == 1
    assert found[code].examples[0].detail
    allowed = {code, "STP-W004"} if code == "STP-W003" else {code}
    if code != "STP-E002":  # a mask of another size is also of another shape than its labels
        assert set(found) <= allowed


@pytest.mark.parametrize("orientation", range(1, 10))
def test_every_orientation_that_turns_a_picture_is_flagged(orientation: int, tmp_path: Path) -> None:
    write_set(tmp_path, [turned(orientation)])
    codes = [flag.code for flag in inspect_sets([tmp_path], everything=True).flags]
    assert codes == (["STP-W007"] if 2 <= orientation <= 8 else [])


@pytest.mark.parametrize("text", ["", "  ", "<|im_end|>", "dog\u2028s"])
def test_texts_that_must_not_be(text: str, tmp_path: Path) -> None:
    write_set(tmp_path, [damaged(say(text))])
    assert "STP-E005" in {flag.code for flag in inspect_sets([tmp_path]).flags}


def test_unknown_target_is_flagged_and_the_rest_works(tmp_path: Path) -> None:
    made = good().made()
    made.record.dialogues[0].targets = [7]
    write_set(tmp_path, [made])
    assert {flag.code for flag in inspect_sets([tmp_path], Selection(where="kind != 'chat'")).flags} == {"STP-E006"}


def test_a_mask_of_nonsense_is_an_error_and_harms_nobody(tmp_path: Path) -> None:
    def spoil(made: Made) -> None:
        for target, counts in zip(made.record.targets, ("\\x7f~~", "ooooooo0"), strict=True):
            target.rle = RLE((120, 160), counts)

    made = damaged(spoil)
    made.record.dialogues[2].expression = "the dog"
    write_set(tmp_path, [made])
    (flag,) = inspect_sets([tmp_path]).flags
    assert (flag.code, flag.count) == ("STP-E001", 2)


def test_record_and_index_that_disagree_are_one_error(tmp_path: Path) -> None:
    made = good().made()
    assert made.labels is not None
    made.labels = made.labels[:1]
    write_set(tmp_path, [made])
    (flag,) = inspect_sets([tmp_path]).flags
    assert flag.code == "STP-E001"
    assert "the index says 3 and 1" in flag.examples[0].detail


def test_budget(tmp_path: Path) -> None:
    write_set(tmp_path, [good().made()])
    assert not inspect_sets([tmp_path]).flags
    assert not inspect_sets([tmp_path], Selection(budget=100_000)).flags
    (flag,) = inspect_sets([tmp_path], Selection(budget=1500)).flags
    assert (flag.code, flag.count) == ("STP-W009", 3)


def test_leaks_are_named_on_the_side_that_is_evaluated(tmp_path: Path) -> None:
    def scene(key: str, seed: int) -> Made:
        return Scene(key, seed=seed).target("a", DOG).says("the dog", [0]).made()

    write_set(tmp_path, [scene("t1", 1), scene("t2", 2)], dataset="one")
    write_set(tmp_path, [scene("o1", 1), scene("o3", 3)], dataset="two", split="val")
    write_set(tmp_path, [scene("o4", 3)], dataset="two", split="test")
    write_set(tmp_path, [scene("t5", 1)], dataset="three")
    (flag,) = inspect_sets([tmp_path], everything=True).flags
    assert flag.code == "STP-W006"
    assert {(example.key, example.detail) for example in flag.examples} == {
        ("o1", "also in one/train"),
        ("o3", "also in two/test"),
    }
    assert inspect_sets([tmp_path / "one"]).flags == []


def test_passes_are_no_repetitions(tmp_path: Path) -> None:
    write_set(tmp_path, [Scene("k").target("a", DOG).says("the dog", [0], passes=3).made()])
    assert not inspect_sets([tmp_path]).flags


def test_explanations_say_why_and_what_to_do() -> None:
    for code, flag in FLAGS.items():
        text = explain(code)
        assert text.startswith(f"{code} ({flag.severity}): {flag.title}")
        assert "Why: " in text
        assert "Fix: " in text
        assert flag.at_build == ("rejects.jsonl, never by" in text)
    assert explain("w003") == explain("STP-W003")
    with pytest.raises(UsageFault, match="no flag") as fault:
        explain("STP-W03")
    assert "did you mean" in fault.value.hint


def test_every_flag_has_a_case_or_a_test_of_its_own() -> None:
    elsewhere = {"STP-W006", "STP-W008", "STP-W009"}
    assert set(CASES) | elsewhere == set(FLAGS)
    assert set(CHECKS) <= set(CASES)
    assert msgspec.json.encode(list(FLAGS)) == msgspec.json.encode(
        sorted(FLAGS, key=lambda code: ("EWI".index(code[4]), code))
    )


def test_flags_reckon_with_the_labels_that_are_learnt(tmp_path: Path) -> None:
    """Two pixels square is less than half of a patch, of which there are 28 by 37 here, and fills labels of sixteen to one."""
    write_set(tmp_path, [CASES["STP-W003"](), good().made()])

    def vanished(side: int) -> list[str]:
        report = inspect_sets([tmp_path], Selection(side=side), everything=True)
        return [one.detail for flag in report.flags if flag.code in ("STP-W003", "STP-W004") for one in flag.examples]

    assert vanished(1) == ["4 pixels, no patch half covered"] and vanished(4) == []
