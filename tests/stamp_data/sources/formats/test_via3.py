"""Projects of VIA 3: files, views and pieces of metadata by their ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from stamp_data.doctor import examine

from ..raw import Json, write_json
from .making import CORNERS, HEIGHT, TRIANGLE, WIDTH, Said, polygon_mask, put, refused

ATTRIBUTES = {
    "1": {"aname": "phrase", "anchor_id": "FILE1_Z0_XY1", "type": 1, "desc": "", "options": {}, "default_option_id": ""},
    "2": {"aname": "class", "anchor_id": "FILE1_Z0_XY1", "type": 4, "options": {"0": "car", "1": "cup", "K": "sky"}},
    "3": {"aname": "no_target", "anchor_id": "FILE1_Z0_XY0", "type": 1, "options": {}},
}  # fmt: skip


def flat(points: list[tuple[float, float]]) -> list[float]:
    return [value for point in points for value in point]


def piece(xy: list[float], vid: str | int = "1", **av: str) -> Json:
    return {"vid": vid, "flg": 0, "z": [], "xy": xy, "av": {key[1:]: value for key, value in av.items()}}


def file(name: str, **other: Any) -> Json:
    return {"fid": "1", "fname": name, "type": 2, "loc": 1, "src": ""} | other


def project(*pieces: Any, files: dict[str, Any] | None = None, views: dict[str, Any] | None = None) -> Json:
    files = files or {"1": file("a.jpg")}
    return {
        "project": {"pid": "__VIA_PROJECT_ID__", "data_format_version": "3.1.1", "vid_list": list(files)},
        "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}, "ui": {}},
        "attribute": ATTRIBUTES,
        "file": files,
        "view": views or {key: {"fid_list": [key]} for key in files},
        "metadata": {f"1_{number}": one for number, one in enumerate(pieces)},
    }


def said(tmp_path: Path, content: object, *pictures: str) -> Said:
    put(tmp_path / "data", *(pictures or ("a.jpg",)))
    write_json(tmp_path / "data/project.json", content)
    return Said(tmp_path / "data", tmp_path / "out", "via")


def test_every_shape(tmp_path: Path) -> None:
    pieces = [
        piece([7, *flat(TRIANGLE)], _1="car"),
        piece([2, 16, 12, 32, 12], _1="box"),
        piece([8, 16, 20, 48, 13, 30, 12, 31, 24], _1="box by its edges"),
        piece([3, 32, 24, 12], _1="disc"),
        piece([9, 44, 24, 32, 36, 20, 24], _1="disc by its rim"),
        piece([4, 32, 24, 16, 12], _1="oval"),
    ]
    found = said(tmp_path, project(*pieces))
    assert not found.rows and np.array_equal(found.mask("car"), polygon_mask(TRIANGLE))
    box = polygon_mask([(16, 12), (48, 12), (48, 24), (16, 24)])
    assert np.array_equal(found.mask("box"), box) and np.array_equal(found.mask("box by its edges"), box)
    assert np.array_equal(found.mask("disc"), found.mask("disc by its rim"))
    for phrase, bounds in (("disc", (20, 12, 44, 36)), ("oval", (16, 12, 48, 36))):
        drawn = Image.new("1", (WIDTH, HEIGHT))
        ImageDraw.Draw(drawn).ellipse(bounds, fill=1)
        assert np.mean(found.mask(phrase) != np.asarray(drawn)) < 0.03


def test_phrases_choices_and_nothing(tmp_path: Path) -> None:
    pieces = [
        piece([7, *flat(CORNERS)], _1="left car; the red one", _2="0"),
        piece([7, *flat(TRIANGLE)], vid=1, _2="1,K"),
        piece([], _3="a unicorn"),
        piece([], _3="a cow"),
    ]
    found = said(tmp_path, project(*pieces))
    assert found.phrases == ["a cow", "a unicorn", "cup", "left car", "sky", "the red one"] and not found.rows
    assert np.array_equal(found.mask("left car"), polygon_mask(CORNERS)) and not found.mask("a cow").any()


def test_attributes_of_one_name_are_all_said(tmp_path: Path) -> None:
    """Their ids tell them apart, in a region and in a piece about the whole picture."""
    content = project(piece([7, *flat(CORNERS)], _1="left car", _4="the red one"), piece([], _3="a cow", _5="a dog"))
    more = {"4": ATTRIBUTES["1"] | {"desc": "once more"}, "5": ATTRIBUTES["3"]}
    found = said(tmp_path, content | {"attribute": ATTRIBUTES | more})
    assert found.phrases == ["a cow", "a dog", "left car", "the red one"] and not found.rows


def test_pictures_of_several_views_and_addresses(tmp_path: Path) -> None:
    files = {
        "1": file("a.jpg"),
        "2": file("b.jpg", loc=2, src="https://example.org/some%20where/b.jpg"),
        "3": file("shown as", loc=2, src="train/c.jpg"),
    }
    pieces = [piece([7, *flat(CORNERS)], vid=key, _1=f"of {key}") for key in files]
    found = said(tmp_path, project(*pieces, files=files), "a.jpg", "b.jpg", "train/c.jpg")
    assert not found.rows and {key[1]: key[2] for key in found.masks} == {
        "a.jpg": "of 1", "b.jpg": "of 2", "c.jpg": "of 3",
    }  # fmt: skip


def test_an_address_that_is_none_costs_its_picture_alone(tmp_path: Path) -> None:
    files = {"1": file("", src="http://[bad/a.jpg"), "2": file("b.jpg")}
    box = [2, 1, 1, 9, 9]
    found = said(tmp_path, project(piece(box, 1, _1="car"), piece(box, 2, _1="cup"), files=files), "b.jpg")
    assert found.phrases == ["cup"]
    assert [record for record, _ in found.reasons] == ["view 1"]


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    files = {"1": file("a.jpg"), "2": file("film.mp4", type=4), "3": {"fname": 3}}
    views = {
        "1": {"fid_list": ["1"]},
        "2": {"fid_list": ["2"]},
        "3": {"fid_list": ["1", "2"]},
        "4": {"fid_list": ["9"]},
        "5": 5,
    }
    pieces = [
        piece([7, *flat(CORNERS)], _1="good"),
        piece([1, 3, 4], _1="point"),
        piece([7, 1, 2, 3], _1="odd"),
        piece([9, 0, 0, 1, 1, 2, 2], _1="straight"),
        piece([77, 0, 0], _1="unknown"),
        piece([2, 1, 1, 9, 9], vid=2, _1="of the film"),
        piece([2, 1, 1, 9, 9], vid="none", _1="of nothing"),
        {"vid": "1", "xy": "x"},
        piece([2, 1, 1, 9, 9], _2="0", _9="a value of no attribute"),
        piece([1e300, 1, 1], _1="endless"),
    ]
    found = said(tmp_path, project(*pieces, files=files, views=views))
    assert found.phrases == ["car", "good"]
    reasons = dict(found.reasons)
    assert [reasons[f"view 1 regions[1_{number}]"] for number in (1, 2, 3, 4, 9)] == ["no-area", *["bad-shape"] * 4]
    assert [reasons[f"metadata 1_{number}"] for number in (5, 6, 7)] == ["image-missing"] * 2 + ["bad-annotation"]
    assert [reasons[f"view {number}"] for number in (2, 3, 4, 5)] == [
        "other-media", "bad-annotation", "image-missing", "bad-annotation",
    ]  # fmt: skip


def test_a_damaged_project_ends_in_one_line(tmp_path: Path) -> None:
    write_json(tmp_path / "p.json", project() | {"view": 3})
    with refused("p.json"):
        Said(tmp_path / "p.json", tmp_path / "out", "via")


def test_the_doctor_examines_it(tmp_path: Path) -> None:
    put(tmp_path, "images/a.jpg")
    write_json(tmp_path / "p.json", project(piece([7, *flat(CORNERS)], _1="cup")))
    (report,) = [one for one in examine(tmp_path).datasets if one.dataset == "via"]
    assert report.state == "ready" and [split.counts.sentences for split in report.splits] == [1]
