"""Requests as people and programs name them: pictures, folders, lists; and what hostile lists cannot reach."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stamp_schemas import StampError, UsageFault
from stamp_train.predict.inputs import MAX_ROW, Asked, read_requests

from .talking import scene


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures beside a file that is none, and one outside."""
    root = tmp_path / "in"
    (root / "deep").mkdir(parents=True)
    for name in ("b.png", "a.JPG", "deep/c.webp"):
        scene().save(root / name)
    (root / "notes.txt").write_text("x")
    scene().save(tmp_path / "secret.png")
    return root


def listed(folder: Path, *rows: object) -> Path:
    path = folder / "list.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def asked(
    *inputs: Path, texts: tuple[str, ...] = (), expressions: tuple[str, ...] = (), root: Path | None = None
) -> list[Any]:
    return list(read_requests(inputs, texts, expressions, root))


def test_every_picture_is_asked_every_question(folder: Path) -> None:
    found = asked(folder, texts=("What?", "Why?"), expressions=("left dog",))
    names = ["a.JPG", "b.png", "deep/c.webp"]
    assert [one.image for one in found] == [folder / name for name in names for _ in range(3)]
    assert [one.prompt for one in found[:3]] == ["What?", "Why?", "Please segment only the left dog in the image."]
    assert len({one.id for one in found}) == 9
    assert found[0].request().text == "What?"
    again = asked(folder, texts=("What?", "Why?"), expressions=("left dog",))
    assert found == again


def test_names_that_are_no_text(folder: Path) -> None:
    picture = (folder / "b.png").rename(folder / os.fsdecode(b"\xff.png"))
    (found,) = asked(picture, texts=("What\udcff?",))
    assert found.image.is_file()
    assert (found.shown, found.prompt) == (f"{folder}/?.png", "What??")


def test_what_is_named_twice_is_asked_once(folder: Path) -> None:
    assert len(asked(folder / "b.png", folder / "b.png", folder, texts=("What?", "What?"))) == 3


def test_tiff_in_a_folder_is_read(folder: Path) -> None:
    for name in ("scan.tif", "scan.TIFF"):
        (folder / name).touch()
    shown = {one.shown for one in asked(folder, texts=("What?",)) if not isinstance(one, StampError)}
    assert {str(folder / "scan.tif"), str(folder / "scan.TIFF")} <= shown


def test_what_is_not_there_is_named_and_the_rest_goes_on(folder: Path) -> None:
    (folder / "empty").mkdir()
    found = asked(folder / "gone.png", folder / "empty", folder / "b.png", texts=("What?",))
    assert [str(one).split(" (")[0] for one in found[:2]] == [
        f"{folder / 'gone.png'}: no such file",
        f"{folder / 'empty'}: holds no picture",
    ]
    assert isinstance(found[2], Asked)


def test_a_link_that_leads_nowhere_is_named(folder: Path) -> None:
    (folder / "link.png").symlink_to("gone.png")
    (folder / "deep.png").mkdir()
    faults = [str(one) for one in asked(folder, texts=("What?",)) if isinstance(one, StampError)]
    assert faults == [f"{folder / 'link.png'}: no such file"]


def test_calls_that_ask_nothing(folder: Path) -> None:
    for blank in ("", " "):
        with pytest.raises(UsageFault, match="take words"):
            asked(folder / "b.png", texts=("What?", blank))
        with pytest.raises(UsageFault, match="take words"):
            asked(folder / "b.png", expressions=(blank,))
    with pytest.raises(UsageFault, match="nothing is asked"):
        asked(folder / "b.png")
    with pytest.raises(UsageFault, match="none is named"):
        asked(listed(folder), texts=("What?",))


def test_a_list_is_read_with_requests_of_one_picture_together(folder: Path) -> None:
    path = listed(
        folder,
        {"image": "b.png", "text": "one", "id": "first"},
        {"image": "deep/c.webp", "expression": "cup", "id": 2, "answer": "other keys are passed over"},
        "",
        {"image": "b.png", "text": "three"},
    )
    found = asked(path)
    assert [(one.shown, one.prompt) for one in found] == [
        ("b.png", "one"),
        ("b.png", "three"),
        ("deep/c.webp", "Please segment only the cup in the image."),
    ]
    assert [found[0].id, found[2].id] == ["first", "2"]
    assert found[0].image == folder / "b.png"


BAD = {
    "no JSON": ("{", "list.jsonl:2: "),
    "a list": ("[1]", "list.jsonl:2: Expected `object`"),
    "bytes that are no text": ('{"image": "\udcff.png", "text": "x"}', "list.jsonl:2: "),
    "no image": ({"text": "x"}, "list.jsonl:2: Object missing required field `image`"),
    "nothing asked": ({"image": "b.png"}, "list.jsonl:2: needs either text or expression"),
    "blank": ({"image": "b.png", "text": " "}, "list.jsonl:2: needs either text or expression"),
    "both": ({"image": "b.png", "text": "x", "expression": "y"}, "list.jsonl:2: needs either text or expression"),
    "above": ({"image": "../secret.png", "text": "x"}, "list.jsonl:2: '../secret.png' leads out of the root"),
    "absolute": ({"image": "/etc/passwd", "text": "x"}, "list.jsonl:2: '/etc/passwd' leads out of the root"),
    "by a link": ({"image": "link.png", "text": "x"}, "list.jsonl:2: 'link.png' is a link that leads out"),
    "a null byte": ({"image": "a\0.png", "text": "x"}, "list.jsonl:2: "),
    "an id of another": ({"image": "b.png", "text": "x", "id": "one"}, "id 'one' is that of another request"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_row_is_named_by_its_line_and_the_others_go_on(folder: Path, bad: str) -> None:
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    row, message = BAD[bad]
    path = folder / "list.jsonl"
    lines = [
        json.dumps({"image": "b.png", "text": "first", "id": "one"}),
        row if isinstance(row, str) else json.dumps(row),
    ]
    lines.append(json.dumps({"image": "deep/c.webp", "text": "x"}))
    path.write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    found = asked(path)
    faults = [one for one in found if isinstance(one, StampError)]
    assert len(found) == 3 and len(faults) == 1
    assert message in faults[0].message and "\n" not in faults[0].message


def test_a_line_without_end_is_not_read_whole(folder: Path) -> None:
    path = folder / "list.jsonl"
    path.write_bytes(json.dumps({"image": "b.png", "text": "x"}).encode() + b"\n" + b" " * (MAX_ROW + 2))
    found = asked(path)
    assert [type(one) for one in found] == [StampError, Asked]
    assert "list.jsonl:2: a line of more than" in str(found[0])


def test_another_root(folder: Path, tmp_path: Path) -> None:
    path = listed(folder, {"image": "in/b.png", "text": "x"})
    assert "no such" not in str(asked(path)[0])  # whether a picture can be read is seen when it is opened
    assert asked(path, root=tmp_path)[0].image == folder / "b.png"
    assert "No such file" in str(asked(folder / "gone.jsonl")[0])
