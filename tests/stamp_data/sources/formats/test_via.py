"""VIA's projects and annotations, in the layouts of VIA 1 and 2."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stamp_data.doctor import examine

from ..raw import Json, write_json
from .making import CORNERS, HEIGHT, TRIANGLE, WIDTH, Said, polygon_mask, put, refused


def polygon(points: list[tuple[float, float]], **words: Any) -> Json:
    xs, ys = map(list, zip(*points, strict=True))
    return {"shape_attributes": {"name": "polygon", "all_points_x": xs, "all_points_y": ys}, "region_attributes": words}


def shape(name: str, phrase: str, **values: float) -> Json:
    return {"shape_attributes": {"name": name, **values}, "region_attributes": {"name": phrase}}


def entry(*regions: Json, name: str = "a.jpg", **words: str) -> Json:
    return {"filename": name, "size": 1234, "regions": list(regions), "file_attributes": words}


def held(*entries: Any) -> Json:
    return {f"{one['filename']}{one.get('size', -1)}-{number}": one for number, one in enumerate(entries)}


def said(tmp_path: Path, content: object, *pictures: str) -> Said:
    put(tmp_path / "data", *(pictures or ("a.jpg",)))
    write_json(tmp_path / "data/via.json", content)
    return Said(tmp_path / "data", tmp_path / "out", "via")


def test_every_shape(tmp_path: Path) -> None:
    regions = [
        polygon(TRIANGLE, name="car"),
        shape("rect", "box", x=16, y=12, width=32, height=12),
        shape("circle", "disc", cx=32, cy=24, r=12),
        shape("ellipse", "oval", cx=32, cy=24, rx=12, ry=16, theta=math.pi / 2),
    ]
    found = said(tmp_path, {"_via_settings": {}, "_via_img_metadata": held(entry(*regions)), "_via_attributes": {}})
    assert not found.rows and np.array_equal(found.mask("car"), polygon_mask(TRIANGLE))
    assert np.array_equal(found.mask("box"), polygon_mask([(16, 12), (48, 12), (48, 24), (16, 24)]))
    for phrase, bounds in (("disc", (20, 12, 44, 36)), ("oval", (16, 12, 48, 36))):
        drawn = Image.new("1", (WIDTH, HEIGHT))
        ImageDraw.Draw(drawn).ellipse(bounds, fill=1)
        assert np.mean(found.mask(phrase) != np.asarray(drawn)) < 0.03


def test_phrases_and_nothing(tmp_path: Path) -> None:
    regions = [
        polygon(CORNERS, Expression="left car; the red one", name="car"),
        polygon(TRIANGLE, label={"cup": True, "mug": True, "jug": False}),
        polygon(TRIANGLE, thing="pot"),
    ]
    found = said(tmp_path, held(entry(*regions, no_target="a unicorn;a cow")))
    assert found.phrases == ["a cow", "a unicorn", "cup", "left car", "mug", "pot", "the red one"] and not found.rows
    assert np.array_equal(found.mask("left car"), polygon_mask(CORNERS)) and not found.mask("a cow").any()


@pytest.mark.parametrize("first", ["filename", "#filename"])
def test_version_one_and_csv(first: str, tmp_path: Path) -> None:
    """Regions by numbers; and a row for each, of which one picture has two and another none."""
    numbered = entry(name="a.jpg") | {
        "regions": {"0": polygon(CORNERS, name="car"), "1": polygon(TRIANGLE, name="car")}
    }
    found = said(tmp_path / "one", held(numbered))
    both = polygon_mask(CORNERS, TRIANGLE)
    assert np.array_equal(found.mask("car"), both)
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow([first, "file_size", "file_attributes", "region_count", "region_id", "region_shape_attributes",
                   "region_attributes"])  # fmt: skip
    for number, points in enumerate((CORNERS, TRIANGLE)):
        region = polygon(points, name="car")
        shapes, words = (json.dumps(region[key]) for key in ("shape_attributes", "region_attributes"))
        rows.writerow(["a.jpg", 1, "{}", 2, number, shapes, words])
    rows.writerow(["b.jpg", 1, '{"no_target": "car"}', 0, 0, "{}", "{}"])
    root = tmp_path / "two/data"
    put(root, "a.jpg", "b.jpg")
    (root / "via.csv").write_text(text.getvalue())
    found = Said(root, tmp_path / "two/out", "via")
    assert not found.rows and np.array_equal(found.mask("car", "a"), both) and not found.mask("car", "b").any()


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    regions = [
        polygon(CORNERS, name="good"),
        polygon(CORNERS[:2], name="two"),
        shape("point", "dot", cx=1, cy=1),
        shape("circle", "endless", cx=1, cy=1, r=0),
        shape("blob", "unknown"),
        {
            "shape_attributes": {"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1]},
            "region_attributes": {"name": "x"},
        },
        {"shape_attributes": {"name": "polygon", "all_points_x": "far"}, "region_attributes": {"name": "y"}},
        polygon(CORNERS),
        "no region",
    ]
    entries = held(entry(*regions), entry(polygon(CORNERS, name="z"), name="../a.jpg"))
    found = said(tmp_path, {**entries, "odd": {"filename": 3}})
    assert found.phrases == ["good"]
    assert sorted(reason for _, reason in found.reasons) == [
        "bad-annotation", "bad-annotation", *["bad-shape"] * 5, "no-area", "no-phrase", "path-escape",
    ]  # fmt: skip


@pytest.mark.parametrize("content", ['{"a": 3', "[]", '{"_via_img_metadata": 3, "filename": 1, "shape_attributes": 2}'])
def test_a_file_that_is_none_ends_in_one_line(content: str, tmp_path: Path) -> None:
    path = tmp_path / "via.json"
    path.write_text(content)
    with refused("via.json"):
        Said(path, tmp_path / "out", "via")


def test_the_doctor_examines_it(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    write_json(tmp_path / "via.json", held(entry(polygon(CORNERS, name="cup"))))
    (report,) = [one for one in examine(tmp_path).datasets if one.splits]
    assert (report.dataset, report.state, report.splits[0].opened) == ("via", "ready", 1) and not report.splits[
        0
    ].findings
