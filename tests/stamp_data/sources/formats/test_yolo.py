"""YOLO's labels for segmentation, in the layouts of Ultralytics and of exports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stamp_data.doctor import examine

from .making import CORNERS, HEIGHT, TRIANGLE, WIDTH, Said, polygon_mask, put, refused


def line(number: object, points: list[tuple[float, float]], width: int = WIDTH, height: int = HEIGHT) -> str:
    return " ".join([str(number), *(f"{value:.9f}" for x, y in points for value in (x / width, y / height))]) + "\n"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ("data.yaml", "path: .\ntrain: images/train\nnames:\n  0: car\n  1: red cup\n"),
        ("data.yaml", "nc: 2\nnames: [car, 'red cup']\n"),
        ("classes.txt", "car\nred cup\n"),
    ],
)
@pytest.mark.parametrize("layout", ["{kind}/{split}/a.{suffix}", "{split}/{kind}/a.{suffix}"])
def test_outlines_in_parts_of_the_picture(names: str, text: str, layout: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    files = {names: text}
    for split, size in (("train", (WIDTH, HEIGHT)), ("val", (200, 90))):
        put(root, layout.format(kind="images", split=split, suffix="jpg"), size=size)
        labels = line(0, CORNERS, *size) + line(1, TRIANGLE, *size) + line(1, [(1, 1), (9, 1), (9, 9)], *size)
        files[layout.format(kind="labels", split=split, suffix="txt")] = labels
    found = Said(write(root, files), tmp_path / "out", "yolo")
    assert not found.rows and found.records == {"train": 1, "val": 1}
    for split, size in (("train", (WIDTH, HEIGHT)), ("val", (200, 90))):
        assert np.array_equal(found.mask("car", split=split), polygon_mask(CORNERS, size=size))
        both = polygon_mask(TRIANGLE, [(1, 1), (9, 1), (9, 9)], size=size)
        assert np.mean(found.mask("red cup", split=split) != both) < 1e-3  # nine decimals


def test_pictures_beside_their_labels_and_turned_ones(tmp_path: Path) -> None:
    root = tmp_path / "data"
    exif = Image.Exif()
    exif[0x0112] = 6
    put(root, "a.jpg", exif=exif)
    upright = [(4.0, 10.0), (40.0, 10.0), (40.0, 20.0), (4.0, 20.0)]
    found = Said(
        write(root, {"a.txt": line(0, upright, HEIGHT, WIDTH), "classes.txt": "car"}), tmp_path / "out", "yolo"
    )
    assert np.array_equal(found.mask("car"), np.rot90(polygon_mask(upright, size=(HEIGHT, WIDTH)))) and not found.rows


def test_an_empty_file_says_that_no_class_is_there(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "images/a.jpg", "images/b.jpg")
    found = Said(
        write(root, {"labels/a.txt": "", "labels/b.txt": line(1, CORNERS), "classes.txt": "car\ncup\n"}),
        tmp_path / "out",
        "yolo",
    )
    assert not found.mask("car", "a").any() and not found.mask("cup", "a").any() and found.mask("cup", "b").any()
    assert found.records == {"train": 2} and len(found.masks) == 3


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put(root, "images/a.jpg", "images/b.jpg")
    (root / "images/d.jpg").write_bytes(b"no picture")
    good = line(0, CORNERS)
    files = {
        "classes.txt": "car\ncup\ndog\nbox\nodd\nfar",
        "labels/a.txt": good
        + "1 0.1 0.2 0.3\n2 0.1 0.2 x 0.4 0.5 0.6\n3 0.5 0.5 0.1 0.1\n9 .1 .1 .2 .2 .3 .1\n4 nan 0 1 1 0 1\n",
        "labels/b.txt": "5 1e9 0 1 1 0 1\n",
        "labels/c.txt": good,
        "labels/d.txt": good,
        "labels/e.txt": "\nnot a line\n",
    }
    found = Said(write(root, files), tmp_path / "out", "yolo")
    assert found.phrases == ["car"]
    wanted = {f"line {number}": "bad-shape" for number in (2, 3, 6)} | {"line 4": "no-area", "line 5": "no-phrase"}
    wanted |= {"line 1": "target-refused", "c": "picture-missing", "d": "bad-image", "e": "picture-missing"}
    assert dict(found.reasons) == wanted


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"labels/a.txt": "0 .1 .1 .2 .2 .3 .1\n"}, "no names of classes"),
        ({"data.yaml": "names: 3", "labels/a.txt": "0 .1 .1 .2 .2 .3 .1\n"}, "`names` is no list"),
        ({"data.yaml": "names: [a", "labels/a.txt": "0 .1 .1 .2 .2 .3 .1\n"}, "data.yaml cannot be read"),
        (
            {"data.yaml": "names: !!python/object/apply:os.getcwd []", "labels/a.txt": "0 .1 .1\n"},
            "data.yaml cannot be read",
        ),
        ({"classes.txt": "a", "readme.txt": "hello"}, "no file of YOLO"),
    ],
)
def test_a_folder_that_is_none_ends_in_one_line(files: dict[str, str], told: str, tmp_path: Path) -> None:
    with refused(told):
        Said(write(tmp_path / "data", files), tmp_path / "out", "yolo")


def test_the_doctor_examines_it(tmp_path: Path) -> None:
    put(tmp_path, "images/train/a.jpg")
    write(tmp_path, {"labels/train/a.txt": line(0, CORNERS), "data.yaml": "names: [car]"})
    (report,) = [one for one in examine(tmp_path).datasets if one.splits]
    assert (report.dataset, report.state, report.splits[0].opened) == ("yolo", "ready", 1) and not report.splits[
        0
    ].findings


def test_lists_and_folders_of_pictures_tell_the_splits(tmp_path: Path) -> None:
    """As `data.yaml` names them, also with what stood before them on another machine."""
    root = tmp_path / "data"
    put(root, *(f"images/{name}.jpg" for name in ("a", "b", "c", "held/d")))
    files = {f"labels/{name}.txt": line(0, CORNERS) for name in ("a", "b", "c", "held/d")}
    files |= {
        "train.txt": "./images/a.jpg\n/home/x/set/images/b.jpg\n",
        "lists/some.txt": "images/c.jpg\nimages/gone.jpg\n",
    }
    yaml = "path: /home/x/set\ntrain: train.txt\nval: [../lists/some.txt]\ntest: images/held\nnames: [car]\n"
    found = Said(write(root, files | {"data.yaml": yaml}), tmp_path / "out", "yolo")
    assert {key[:2] for key in found.masks} == {
        ("train", "a.jpg"), ("train", "b.jpg"), ("val", "c.jpg"), ("test", "d.jpg")
    }  # fmt: skip
    (root / "lists/some.txt").unlink()
    with refused("data.yaml names '../lists/some.txt', which is not there"):
        Said(root, tmp_path / "again", "yolo")


def test_files_as_windows_writes_them(tmp_path: Path) -> None:
    put(tmp_path / "data", "images/a.jpg")
    (tmp_path / "data/labels").mkdir()
    (tmp_path / "data/classes.txt").write_bytes("\ufeffcar\r\n".encode())
    (tmp_path / "data/labels/a.txt").write_bytes("\ufeff0 0.125 0.166 0.625 0.166 0.625 0.666\r\n".encode())
    assert Said(tmp_path / "data", tmp_path / "out", "yolo").phrases == ["car"]
