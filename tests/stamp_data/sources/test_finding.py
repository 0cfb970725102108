"""Pictures that do not lie where their annotation says are found, and never another one in their stead."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest

from stamp_data.sources.finding import Finder, walk
from stamp_schemas import ImageRef


def files(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def finder(
    root: Path, images: Sequence[Path] = (), usual: Sequence[str] = (), *, own: bool = True, follow_links: bool = False
) -> Finder:
    roots = [path.resolve() for path in (root, *images)]
    return Finder(roots, len(images), usual, own=own, follow_links=follow_links)


def found(look: Finder, path: str) -> str:
    """Where a picture was found, below its root; its own path if it was not."""
    return look.placed(ImageRef(path)).path


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        (unicodedata.normalize("NFD", "Größe é.jpg"), unicodedata.normalize("NFC", "Größe é.jpg")),
        (unicodedata.normalize("NFC", "Größe é.jpg"), unicodedata.normalize("NFD", "Größe é.jpg")),
        ("my photo (1).jpg", "my%20photo%20%281%29.jpg"),
        ("my%20photo.jpg", "my photo.jpg"),
        ("IMG_1.JPG", "img_1.jpg"),
        ("gr%C3%B6%C3%9Fe.jpg", "größe.jpg"),
    ],
)
@pytest.mark.parametrize("own", [True, False])
def test_names_that_are_written_otherwise(there: str, asked: str, own: bool, tmp_path: Path) -> None:
    files(tmp_path, f"images/{there}", "images/another.jpg")
    assert found(finder(tmp_path, own=own), f"images/{asked}") == f"images/{there}"


def test_folders_that_are_written_otherwise(tmp_path: Path) -> None:
    folder = unicodedata.normalize("NFD", "Größe 1")
    files(tmp_path, f"{folder}/Sub/a.jpg", "b/a.jpg")
    assert found(finder(tmp_path, own=False), "größe%201/sub/A.JPG") == f"{folder}/Sub/a.jpg"
    assert found(finder(tmp_path, own=False), "größe/sub/a.jpg") == "größe/sub/a.jpg"


def test_of_names_that_are_much_the_same_none_is_guessed(tmp_path: Path) -> None:
    look = finder(files(tmp_path, "A.jpg", "a.JPG"))
    assert look.near("a.jpg") is None and found(look, "a.jpg") == "a.jpg"
    assert look.near("A.jpg") == (0, "A.jpg")


def test_rivals_are_named(tmp_path: Path) -> None:
    def rivals(path: str, own: bool = True) -> list[str]:
        return finder(root, own=own).placed(ImageRef(path)).rivals

    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    root = files(
        tmp_path, "b/A.jpg", "b/a.JPG", f"{composed}/1.jpg", f"{apart}/1.jpg", "x/2.jpg", "y/2.jpg", "one/c.JPG"
    )
    assert rivals("b/a.jpg") == ["b/A.jpg", "b/a.JPG"]
    assert rivals("É/1.jpg", own=False) == sorted([f"{composed}/", f"{apart}/"])
    assert rivals("gone/2.jpg") == ["x/2.jpg", "y/2.jpg"] and not rivals("gone/2.jpg", own=False)
    assert not rivals("b/A.jpg") and not rivals("b/d.jpg") and not rivals("one/c.jpg")
    for number in range(9):
        files(tmp_path, f"{number}/many.jpg")
    assert len(rivals("many.jpg")) == 5, "no more than are told, however many there are"


def test_usual_folders_come_in_their_order(tmp_path: Path) -> None:
    usual = ("", "images", "data", "images/default")
    assert found(finder(files(tmp_path / "1", "data/a.jpg"), usual=usual), "a.jpg") == "data/a.jpg"
    assert found(finder(files(tmp_path / "2", "images/default/a.jpg"), usual=usual), "a.jpg") == "images/default/a.jpg"
    both = files(tmp_path / "3", "data/x/a.jpg", "images/a.jpg")
    assert found(finder(both, usual=usual), "photos/x/a.jpg") == "images/a.jpg"
    assert found(finder(both, usual=usual[2:3]), "photos/x/a.jpg") == "data/x/a.jpg"


def test_named_folders_come_first_and_by_the_longest_end(tmp_path: Path) -> None:
    root = files(tmp_path / "root", "train/1.jpg")
    images = files(tmp_path / "images", "train/1.jpg", "val/1.jpg", "2.jpg", "deep/er/3.jpg")
    look = finder(root, [images], own=False)
    assert look.near("train/1.jpg") == (1, "train/1.jpg")
    assert look.near("data/val/1.jpg") == (1, "val/1.jpg")
    assert look.near("train/2.jpg") == (1, "2.jpg")
    assert look.near("3.jpg") is None and found(look, "3.jpg") == "deep/er/3.jpg"
    assert found(look, "1.jpg") == "1.jpg", "two pictures are called that"
    assert look.elsewhere("home/me/val/1.jpg") == [(1, "val/1.jpg")]
    placed = look.placed(ImageRef("x/2.jpg", 4, 3, "upright"))
    assert placed == ImageRef("2.jpg", 4, 3, "upright", 1)
    assert look.full(placed) == str(images / "2.jpg")


def test_own_pictures_are_known_by_their_base_name_if_only_one_is_called_that(tmp_path: Path) -> None:
    root = files(
        tmp_path, "cam1/a.jpg", "cam2/b.jpg", "cam1/twice.jpg", "cam2/twice.jpg", ".hidden/c.jpg", "cam1/d.txt"
    )
    assert found(finder(root), "a.jpg") == "cam1/a.jpg"
    assert found(finder(root, own=False), "a.jpg") == "a.jpg"
    for name in ("twice.jpg", "c.jpg", "d.txt"):
        assert found(finder(root), name) == name


def test_what_is_missing_beside_others_is_missing(tmp_path: Path) -> None:
    root = files(tmp_path, "train/2.jpg", "val/1.jpg", "images/1.jpg")
    assert found(finder(root, usual=("images",)), "train/1.jpg") == "train/1.jpg"
    assert found(finder(root, usual=("images",)), "gone/1.jpg") == "images/1.jpg"


def test_what_is_no_file_or_has_no_printable_name_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").mkdir()
    files(tmp_path, "images/b\n.jpg")
    assert finder(tmp_path).near("a.jpg") is None and found(finder(tmp_path), "b\n.jpg") == "b\n.jpg"


def test_folders_that_cannot_be_listed_are_passed_over(tmp_path: Path) -> None:
    files(tmp_path, "file")
    assert finder(tmp_path).near("file/a.jpg") is None and found(finder(tmp_path / "gone"), "a.jpg") == "a.jpg"


def test_links_to_folders_are_walked_only_if_they_are_to_be_followed(tmp_path: Path) -> None:
    root = files(tmp_path / "root", "a.jpg", "b/c.jpg")
    files(tmp_path / "far", "d.jpg")
    (root / "b/loop").symlink_to(root)
    (root / "far").symlink_to(tmp_path / "far")
    assert list(walk(root)) == [("", ["a.jpg"]), ("b", ["c.jpg"])]
    assert list(walk(root, follow_links=True)) == [("", ["a.jpg"]), ("b", ["c.jpg"]), ("far", ["d.jpg"])]
