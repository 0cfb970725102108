"""CVAT's XML for images, in the layout of its export."""

from __future__ import annotations

import shutil
from collections import Counter
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stamp_data.doctor import examine

from ...raw import build, read_set
from .making import CORNERS, HEIGHT, TRIANGLE, WIDTH, Mask, Said, polygon_mask, put, refused

BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


def element(tag: str, attributes: dict[str, object], **said: str) -> str:
    """A shape as CVAT writes it, with its attributes."""
    head = "".join(f" {name}={quoteattr(str(value))}" for name, value in attributes.items())
    inner = "".join(f'<attribute name="{name}">{escape(value)}</attribute>' for name, value in said.items())
    return f"<{tag}{head}>{inner}</{tag}>"


def polygon(label: str, points: list[tuple[float, float]], **said: str) -> str:
    return element("polygon", {"label": label, "points": ";".join(f"{x},{y}" for x, y in points), "z_order": 0}, **said)


def mask(label: str, pixels: Mask, left: int, top: int, **other: object) -> str:
    runs = [len(list(group)) for _, group in groupby([False, *pixels.ravel().tolist()])]
    runs[0] -= 1
    size = {"left": left, "top": top, "width": pixels.shape[1], "height": pixels.shape[0]}
    return element("mask", {"label": label, "rle": ", ".join(map(str, runs)), **size, **other})


def image(number: int, *shapes: str, name: str = "a.jpg", **other: object) -> str:
    size = {"id": number, "name": name, "width": WIDTH, "height": HEIGHT, **other}
    return element("image", size).replace("></image>", f">{''.join(shapes)}</image>")


def write(root: Path, *images: str, head: str = '<?xml version="1.0" encoding="utf-8"?>') -> Path:
    meta = "<version>1.1</version><meta><task><name>t</name></task></meta>"
    root.mkdir(parents=True, exist_ok=True)
    (root / "annotations.xml").write_text(f"{head}<annotations>{meta}{''.join(images)}</annotations>", encoding="utf-8")
    return root


def said(tmp_path: Path, *images: str, pictures: tuple[str, ...] = ("images/a.jpg",)) -> Said:
    put(tmp_path / "data", *pictures)
    return Said(write(tmp_path / "data", *images), tmp_path / "out", "cvat")


def test_polygons_boxes_ellipses_and_masks(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    painted = rng.random((20, 30)) > 0.5
    oval = element("ellipse", {"label": "oval", "cx": 32, "cy": 24, "rx": 16, "ry": 12})
    box = element("box", {"label": "box", "xtl": 16, "ytl": 12, "xbr": 48, "ybr": 24})
    turned = element("box", {"label": "turned", "xtl": 16, "ytl": 12, "xbr": 48, "ybr": 24, "rotation": 90})
    found = said(tmp_path, image(0, polygon("car", TRIANGLE), box, turned, oval, mask("cloud", painted, 31, 28)))
    assert not found.rows and np.array_equal(found.mask("car"), polygon_mask(TRIANGLE))
    assert np.array_equal(found.mask("box"), polygon_mask([(16, 12), (48, 12), (48, 24), (16, 24)]))
    assert np.array_equal(found.mask("turned"), polygon_mask([(38, 2), (38, 34), (26, 34), (26, 2)]))
    assert np.array_equal(found.mask("cloud")[28:, 31:61], painted) and found.mask("cloud").sum() == painted.sum()
    drawn = Image.new("1", (WIDTH, HEIGHT))
    ImageDraw.Draw(drawn).ellipse((16, 12, 48, 36), fill=1)
    assert np.mean(found.mask("oval") != np.asarray(drawn)) < 0.03


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "windows-1251", "gbk"])
def test_a_file_in_the_encoding_that_it_says(encoding: str, tmp_path: Path) -> None:
    """As XML has it: by a byte-order mark, or in its first line."""
    root = tmp_path / "data"
    put(root, "images/a.jpg")
    path = write(root, image(0, polygon("кружка", CORNERS)), head=f'<?xml version="1.0" encoding="{encoding}"?>')
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    path.joinpath("annotations.xml").write_bytes((mark + path.joinpath("annotations.xml").read_text()).encode(encoding))
    assert Said(root, tmp_path / "out", "cvat").phrases == ["кружка"]


@pytest.mark.parametrize("encoding", ["klingon", "zip", "undefined", "utf-8"])
def test_an_encoding_that_is_none_ends_in_one_line(encoding: str, tmp_path: Path) -> None:
    root = write(tmp_path, image(0), head=f'<?xml version="1.0" encoding="{encoding}"?>')
    path = root / "annotations.xml"
    path.write_bytes(path.read_bytes().replace(b"a.jpg", b"\xff.jpg"))
    with refused("annotations.xml"):
        Said(path, tmp_path / "out", "cvat")


def test_attributes_of_one_name_are_all_said(tmp_path: Path) -> None:
    twice = polygon("car", CORNERS, expression="left car").replace("</polygon>", "")
    twice += '<attribute name="expression">the red one</attribute></polygon>'
    found = said(tmp_path, image(0, twice))
    assert found.phrases == ["left car", "the red one"] and not found.rows


def test_attributes_are_phrases_and_labels_where_there_are_none(tmp_path: Path) -> None:
    shapes = [
        polygon("car", CORNERS, expression="the red car", expression_2="left car", color="red"),
        polygon("car", TRIANGLE, color="blue"),
        polygon("car", TRIANGLE, expression="a unicorn", no_target="true"),
        element("tag", {"label": "no_target"}, phrase="a dragon & a cow"),
        element("tag", {"label": "sunny"}),
    ]
    found = said(tmp_path, image(0, *shapes))
    assert found.phrases == ["a dragon & a cow", "a unicorn", "car", "left car", "the red car"] and not found.rows
    assert np.array_equal(found.mask("left car"), polygon_mask(CORNERS))
    assert np.array_equal(found.mask("car"), polygon_mask(TRIANGLE))
    assert not found.mask("a unicorn").any() and not found.mask("a dragon & a cow").any()


def test_subsets_are_splits(tmp_path: Path) -> None:
    images = [
        image(0, polygon("car", CORNERS), subset="Train"),
        image(1, polygon("cup", CORNERS), subset="Validation", name="b.jpg"),
    ]
    found = said(tmp_path, *images, pictures=("images/Train/a.jpg", "images/b.jpg"))
    assert sorted((split, phrase) for split, _, phrase in found.masks) == [("train", "car"), ("val", "cup")]


def test_each_document_has_its_own_pictures(tmp_path: Path) -> None:
    """The same name in two folders, and in the root's."""
    root = tmp_path / "data"
    for folder, shade in (("train", 20), ("val", 120), ("", 220)):
        put(root, f"{folder}/images/a.jpg".lstrip("/"), shade=shade, mode="L")
    for split in ("train", "val"):
        write(root / split / "annotations", image(0, polygon("car", CORNERS)))
    for built in build(root, tmp_path / "out", "cvat"):
        ((loaded,), rejects) = read_set(built.folder)
        assert not rejects and loaded.image == (root / built.manifest.settings.split / "images/a.jpg").read_bytes()


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    whole = np.ones((4, 4), bool)
    shapes = [
        polygon("good", CORNERS),
        polygon("two", CORNERS[:2]),
        element("polygon", {"label": "odd", "points": "1,2;3;4,5"}),
        element("polygon", {"label": "endless", "points": "1,nan;3,1e999;4,5"}),
        element("polyline", {"label": "line", "points": "1,2;3,4"}),
        element("box", {"label": "cornerless", "xtl": 1}),
        mask("outside", whole, WIDTH - 2, 0),
        mask("short", whole, 0, 0, rle="3, 4"),
        mask("minus", whole, 0, 0, rle="-1, 17"),
        element("mask", {"label": "huge", "rle": "0", "left": 0, "top": 0, "width": 10**9, "height": 10**9}),
        polygon("", CORNERS),
    ]
    found = said(
        tmp_path,
        image(0, *shapes),
        image(1, polygon("x", CORNERS), name="../a.jpg"),
        image(2, polygon("x", CORNERS), name="b.jpg", width="wide"),
        image(3, polygon("x", CORNERS), name="c.jpg", width=10**30),
    )
    assert found.phrases == ["good"]
    counts = Counter(reason for record, reason in found.reasons if record.startswith("image 0"))
    assert counts == {"bad-shape": 8, "no-area": 1, "no-phrase": 1}
    rest = dict(found.reasons)
    assert [rest[f"image {number}"] for number in (1, 2, 3)] == ["path-escape", "bad-image", "bad-image"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("<annotations><image>", "damaged"),
        ("<annotations>" * 100, "nested too deeply"),
        ("<other/>", "outermost element is 'other'"),
        ("<annotations><track><polygon/></track></annotations>", "tracks of a video"),
        (f"{BOMB}<annotations><image>&b;</image></annotations>", "document type"),
        ('<!DOCTYPE x SYSTEM "file:///etc/passwd"><annotations/>', "document type"),
        ('<?xml version="1.0" encoding="utf-7"?><annotations>+ADw-/annotations>', "damaged"),
        ("[1, 2]", "damaged"),
    ],
)
def test_a_file_that_is_none_ends_in_one_line(content: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "annotations.xml"
    path.write_text(content)
    with refused(told):
        Said(path, tmp_path / "out", "cvat")


def test_tracks_in_a_folder_are_told_too(tmp_path: Path) -> None:
    (tmp_path / "annotations.xml").write_text("<annotations><track><polygon/></track></annotations>")
    with refused("tracks of a video"):
        Said(tmp_path, tmp_path / "out", "cvat")


def test_the_doctor_examines_it(tmp_path: Path) -> None:
    put(tmp_path, "images/a.jpg")
    (report,) = [one for one in examine(write(tmp_path, image(0, polygon("cup", CORNERS)))).datasets if one.splits]
    assert (report.dataset, report.state, report.splits[0].opened) == ("cvat", "ready", 1) and not report.splits[
        0
    ].findings


def test_a_real_export(real_data: Path, tmp_path: Path) -> None:
    """Two pictures; a labelled box, a polyline, points, and a polygon without a label."""
    root = tmp_path / "data"
    shutil.copytree(real_data / "cvat/for_images_task", root)
    found = Said(root / "train.xml", tmp_path / "out", "cvat")
    assert found.phrases == ["label1"] and np.array_equal(np.argwhere(found.mask("label1")), np.argwhere(real_box()))
    assert [reason for _, reason in found.reasons] == ["no-area", "no-area", "no-phrase"]


def real_box() -> Mask:
    return polygon_mask([(0, 2), (4, 2), (4, 4), (0, 4)], size=(8, 8))
