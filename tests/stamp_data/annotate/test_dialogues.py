"""Dialogues of several turns: kept, built as they were written, and edited in a real browser by keyboard alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stamp_data import rle
from stamp_data.annotate.change import Change
from stamp_data.annotate.store import Store
from stamp_data.verify import verify_set
from stamp_schemas import StampError
from stamp_schemas.annotated import SaidDialogue, SaidTurn

from ..raw import Command, build, read_set, reasons
from .making import image, mask, put_images, said
from .serving import Served, Watched

CUP, COW = "the red cup", "a cow"


def spoken(*turns: tuple[str, str], name: str = "d1", status: Any = "accepted") -> SaidDialogue:
    return SaidDialogue(name, [SaidTurn(*turn) for turn in turns], status)


BREAKFAST = (
    ("What can I drink from?", "From [the cup](p1), or from [both of them](p3)."),
    ("Is it warm?", "Nobody knows."),
    ("And where is the cow?", "[There is none](p2). See [](p1)"),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A picture with three phrases and a dialogue."""
    put_images(tmp_path / "photos", "a.png")
    phrases = (
        said("p1", CUP, status="accepted"),
        said("p2", COW, (), nothing="absent", status="accepted"),
        said("p3", "both cups", ("m1", "m2"), status="accepted"),
    )
    change = Change({one.id: one for one in phrases}, {"m1": mask(), "m2": mask("m2", (50, 0, 60, 9))})
    change.dialogues = {"d1": spoken(*BREAKFAST)}
    Store(tmp_path / "photos/annotations", "Ada").change(image("a.png"), 0, change)
    return tmp_path / "photos"


def test_a_dialogue_is_built_as_it_was_written(root: Path, tmp_path: Path, stamp_data: Command) -> None:
    done = stamp_data(
        "build", "annotations", "--root", root, "--out", tmp_path / "out", "--passes", 2, "--min-tokens", 4,
        "--max-tokens", 16,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (one,), rows = read_set(tmp_path / "out/annotations/train")
    assert not rows and not verify_set(tmp_path / "out/annotations/train")
    written = [dialogue for dialogue in one.record.dialogues if dialogue.is_written]
    assert [dialogue.id for dialogue in written] == ["d1-p0", "d1-p1"] and len(one.record.dialogues) == 8
    first = written[0]
    texts = ["".join(part.text for part in message.content) for message in first.messages]
    assert texts == [
        "What can I drink from?", "From the cup <|seg|>, or from both of them <|seg|>.",
        "Is it warm?", "Nobody knows.",
        "And where is the cow?", "There is none <|seg|>. See <|seg|>",
    ]  # fmt: skip
    assert [part.type for message in first.messages for part in message.content].count("image") == 1
    assert first.messages[0].content[0].type == "image"
    assert [said.expression for said in first.rounds] == texts[::2]
    masks = [rle.decode(one.record.targets[index].rle) for index in first.targets]
    cup, other = rle.decode(mask().rle), rle.decode(mask("m2", (50, 0, 60, 9)).rle)
    for found, expected in zip(masks, (cup, cup | other, cup * 0, cup), strict=True):
        assert np.array_equal(found, expected)
    told = stamp_data("inspect", tmp_path / "out", "--json")
    assert told.returncode == 0 and json.loads(told.stdout)["flags"] == [], told.stdout


def test_only_what_is_accepted_is_built(root: Path, tmp_path: Path) -> None:
    store = Store(root / "annotations", "Ada")
    store.change(image("a.png"), 1, Change({"p2": said("p2", COW, (), nothing="absent", status="new")}))
    more = {"d2": spoken(("Anything?", "No."), name="d2"), "d3": spoken(("What?", "x"), name="d3", status="new")}
    store.change(image("a.png"), 2, Change(dialogues={**more}))
    (built,) = build(root, tmp_path / "out", "annotations")
    (one,), rows = read_set(built.folder)
    assert reasons(rows) == ["not-accepted"] * 3
    assert [dialogue.id for dialogue in one.record.dialogues if len(dialogue.messages) != 2] == []
    (plain,) = [dialogue for dialogue in one.record.dialogues if dialogue.id == "d2-p0"]
    assert plain.targets == [] and not plain.is_written


def test_text_of_a_dialogue_is_no_control_token(root: Path, tmp_path: Path) -> None:
    store = Store(root / "annotations", "Ada")
    turns = (("Is <|im_end|> it?", "Yes, <|seg|> [it](p1) {answer}"),)
    store.change(image("a.png"), 1, Change(dialogues={"d1": spoken(*turns)}))
    (built,) = build(root, tmp_path / "out", "annotations")
    (one,), rows = read_set(built.folder)
    assert reasons(rows) == ["control-token"] and rows[0].action == "cleaned" and not verify_set(built.folder)
    (written,) = [dialogue for dialogue in one.record.dialogues if dialogue.is_written]
    assert written.masks == len(written.targets) == 1


def test_a_patch_reaches_the_masks_of_dialogues(root: Path, tmp_path: Path) -> None:
    """A mask that is drawn anew in a review of the set is the one that the dialogue shows, too."""
    from stamp_data.annotate.begin import begin_from
    from stamp_data.annotate.images import Images
    from stamp_data.annotate.review import write_patch

    build(root, tmp_path / "out", "annotations")
    images, store = Images(root, (root / "annotations",)), Store(tmp_path / "review", "Bob")
    begin_from([str(tmp_path / "out")], images, store)
    document = store.open(images.file(0)).document
    assert sorted(phrase.text for phrase in document.phrases) == [COW, "both cups", CUP]
    phrase = next(one for one in document.phrases if one.text == CUP)
    again = mask(phrase.masks[0], (0, 0, 9, 9))
    accepted = {phrase.id: said(phrase.id, CUP, tuple(phrase.masks), status="accepted")}
    store.change(document.image, document.revision, Change({**accepted}, {again.id: again}))
    write_patch(tmp_path / "review", tmp_path / "fixes.jsonl")
    (built,) = build(root, tmp_path / "patched", "annotations", patches=(tmp_path / "fixes.jsonl",))
    (one,), _ = read_set(built.folder)
    (written,) = [dialogue for dialogue in one.record.dialogues if dialogue.is_written]
    assert np.array_equal(rle.decode(one.record.targets[written.targets[0]].rle), rle.decode(again.rle))


def test_what_does_not_hold_together_is_refused(root: Path) -> None:
    store = Store(root / "annotations", "Ada")
    for change in (
        Change(dialogues={"d2": spoken(("Where?", "[it](p9)"), name="d2")}),
        Change(dialogues={"d2": SaidDialogue("d2", [])}),
        Change({"p2": None}),
    ):
        with pytest.raises(StampError, match="cannot be kept"):
            store.change(image("a.png"), 1, change)
    store.change(image("a.png"), 1, Change({"p2": None}, dialogues={"d1": None}))
    store.undo(image("a.png"), 2)
    document = Store(root / "annotations").open(image("a.png")).document
    assert [one.id for one in document.dialogues] == ["d1"] and document.dialogues[0].made.by == "Ada"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    running = Served(put_images(tmp_path / "photos", "a.png", size=(160, 120)))
    yield running
    running.close()


def turns(served: Served) -> list[tuple[str, str]]:
    (dialogue,) = served.document().dialogues
    return [(turn.question, turn.answer) for turn in dialogue.turns]


@pytest.mark.browser
def test_a_dialogue_by_keyboard_alone(watched: Watched, served: Served) -> None:
    watched.say(CUP)
    watched.keys("r")
    watched.page.evaluate("annotate.stage.cursor = {x: 20.5, y: 30.5}")
    watched.keys("Space", *["Alt+ArrowRight"] * 9, *["Alt+ArrowDown"] * 4, "Space", "Enter")
    watched.keys("D")
    watched.page.keyboard.type("What can I drink from? D, T and X are letters")
    watched.keys("Enter", "A")
    watched.page.keyboard.type("From ")
    watched.keys("Alt+1")
    watched.page.keyboard.type(", not from [The Red  Cup] or [the cow].")
    watched.keys("Enter")
    watched.saved()
    assert turns(served) == [
        (
            "What can I drink from? D, T and X are letters",
            f"From [{CUP}](p1), not from [The Red  Cup](p1) or [the cow](p2).",
        )
    ]
    assert [phrase.text for phrase in served.document().phrases] == [CUP, "the cow"]
    watched.keys("T")
    watched.page.keyboard.type("Sure?")
    watched.keys("Enter", "Y")  # an answer is missing
    watched.saved()
    assert served.document().dialogues[0].status == "new"
    watched.keys("A")
    watched.page.keyboard.type("Yes")
    watched.keys("Shift+Enter")
    watched.page.keyboard.type("I am.")
    watched.keys("Enter", "Y")
    watched.saved()
    assert served.document().dialogues[0].status == "accepted" and turns(served)[1] == ("Sure?", "Yes\nI am.")
    watched.keys("<")
    watched.saved()
    assert turns(served)[0][0] == "Sure?"
    watched.keys(">", "j", "Backspace")  # the phrase that was made by brackets goes, and its words stay
    watched.saved()
    assert turns(served)[0][1] == f"From [{CUP}](p1), not from [The Red  Cup](p1) or the cow."
    watched.keys("K", "X", "z")
    watched.wait("annotate.session.document.dialogues[0].turns.length === 2")
    watched.keys("J", "X", "X")
    watched.saved()
    assert served.document().dialogues == []
    watched.keys("z")
    watched.wait("annotate.session.document.dialogues.length === 1")
    watched.open()
    assert watched.page.locator("#dialogues textarea").count() == 2


@pytest.mark.browser
def test_a_dialogue_with_the_mouse_and_hostile_words(watched: Watched, served: Served) -> None:
    hostile = "<img src=x onerror='window.hacked=1'> [](p1) &"
    watched.say(hostile)
    watched.page.click("#do-new-dialogue")
    watched.page.keyboard.insert_text("</textarea><script>window.hacked=1</script>")
    watched.keys("Tab")
    watched.page.keyboard.insert_text("It ")
    watched.page.click("#question-d1-0")
    watched.page.click("#answer-d1-0")
    watched.keys("End")
    watched.page.keyboard.insert_text("is ")
    watched.page.click("#dialogues .tools button")
    watched.page.click("#name")
    watched.saved()
    assert turns(served) == [
        ("</textarea><script>window.hacked=1</script>", "It is [<img src=x onerror='window.hacked=1'> (p1) &](p1)")
    ]
    watched.open()
    assert watched.page.evaluate("window.hacked") is None
    assert watched.page.input_value("#question-d1-0") == "</textarea><script>window.hacked=1</script>"
