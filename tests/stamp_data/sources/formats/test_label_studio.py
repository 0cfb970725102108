"""Label Studio's JSON, in the layout of its export."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from stamp_data.doctor import examine
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.formats.brush import decoded

from ..raw import Json, read, write_json
from .making import CORNERS, HEIGHT, TRIANGLE, WIDTH, Said, polygon_mask, put, refused

GOLDEN = json.loads((Path(__file__).parents[3] / "data/golden/label_studio/brush.json").read_text())["cases"]
SIZE = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}


def percents(points: list[tuple[float, float]]) -> list[list[float]]:
    return [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in points]


def region(identity: str, kind: str, *labels: str, **value: Any) -> Json:
    head = {"id": identity, "type": kind, "from_name": "label", "to_name": "image", "origin": "manual", **SIZE}
    return {**head, "value": {**value, **({kind: list(labels)} if labels else {})}}


def text(identity: str, *texts: str, field: str = "phrase") -> Json:
    return {
        "id": identity,
        "type": "textarea",
        "from_name": field,
        "to_name": "image",
        "value": {"text": list(texts)},
        **SIZE,
    }


def task(number: int, *results: Any, image: str = "/data/upload/7/1f2e3d4c-a.jpg", **other: Any) -> Json:
    done = {
        "id": 10 + number,
        "completed_by": 1,
        "was_cancelled": False,
        "ground_truth": False,
        "result": list(results),
    }
    return {"id": number, "annotations": [done], "predictions": [], "data": {"image": image}, "meta": {}, **other}


def said(tmp_path: Path, *tasks: Any, pictures: tuple[str, ...] = ("images/a.jpg",), **options: Any) -> Said:
    put(tmp_path / "data", *pictures)
    write_json(tmp_path / "data/export.json", list(tasks))
    return Said(tmp_path / "data", tmp_path / "out", "label_studio", **options)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['width']}x{case['height']}")
def test_the_brush_is_read_as_label_studio_reads_it(case: Json) -> None:
    wanted = np.zeros(case["height"] * case["width"], bool)
    for start, end in zip(case["painted"][::2], case["painted"][1::2], strict=True):
        wanted[start:end] = True
    assert np.array_equal(decoded(case["rle"], case["height"], case["width"]).ravel(), wanted)


@pytest.mark.parametrize("cut", [0, 3, 8, 20, -30])
def test_a_brush_that_ends_early_is_refused(cut: int) -> None:
    with pytest.raises(RecordFault, match="ends early"):
        decoded(GOLDEN[0]["rle"][:cut], HEIGHT, WIDTH)


def test_brush_polygons_boxes_and_ellipses(tmp_path: Path) -> None:
    box = region("r", "rectanglelabels", "box", x=25.0, y=25.0, width=50.0, height=25.0, rotation=0)
    turned = region("t", "rectanglelabels", "turned", x=50.0, y=25.0, width=25.0, height=25.0, rotation=90)
    oval = region("e", "ellipselabels", "oval", x=50.0, y=50.0, radiusX=25.0, radiusY=25.0, rotation=0)
    brush = region("b", "brushlabels", "painted", format="rle", rle=GOLDEN[0]["rle"])
    polygon = region("p", "polygonlabels", "plane", points=percents(TRIANGLE), closed=True)
    found = said(tmp_path, task(1, box, turned, oval, brush, polygon))
    assert found.phrases == ["box", "oval", "painted", "plane", "turned"] and not found.rows
    assert np.array_equal(found.mask("plane"), polygon_mask(TRIANGLE))
    assert np.array_equal(found.mask("box"), polygon_mask([(16, 12), (48, 12), (48, 24), (16, 24)]))
    assert np.array_equal(found.mask("turned"), polygon_mask([(32, 12), (32, 28), (20, 28), (20, 12)]))
    assert np.array_equal(found.mask("painted"), decoded(GOLDEN[0]["rle"], HEIGHT, WIDTH))
    drawn = Image.new("1", (WIDTH, HEIGHT))
    ImageDraw.Draw(drawn).ellipse((16, 12, 48, 36), fill=1)
    assert np.mean(found.mask("oval") != np.asarray(drawn)) < 0.03  # rims differ by half a pixel


def test_texts_of_a_region_are_its_phrases(tmp_path: Path) -> None:
    """Labels are, where there is none; words of a field called no_target name nothing."""
    other = region("q", "polygonlabels", "cup", points=percents(CORNERS))
    shape = {**region("p", "polygon", points=percents(TRIANGLE)), "type": "polygon"}
    labels = region("p", "labels", "car", points=percents(TRIANGLE))
    results = [shape, labels, text("p", "the red car", "left car"), other, text("x", "a unicorn", field="no_target")]
    found = said(tmp_path, task(1, *results, text("y", "a sunny day")))
    assert found.phrases == ["a unicorn", "cup", "left car", "the red car"]
    assert np.array_equal(found.mask("left car"), polygon_mask(TRIANGLE)) and not found.mask("a unicorn").any()
    assert found.reasons == [("task 1 text y", "unused-entry")]


def test_percents_of_another_picture_are_refused(tmp_path: Path) -> None:
    """The picture was made smaller since: nobody can say that its percents are the same."""
    car = {**region("p", "polygonlabels", "car", points=percents(CORNERS)), "original_width": 2 * WIDTH}
    huge = {
        **region("q", "brushlabels", "b", format="rle", rle=[9] * 9),
        "original_width": 10**9,
        "original_height": 10**9,
    }
    put(tmp_path / "data", "images/c.jpg")
    good = region("g", "polygonlabels", "cup", points=percents(CORNERS))
    found = said(tmp_path, task(1, car), task(2, huge, image="b.jpg"), task(3, good, image="c.jpg"))
    assert found.phrases == ["cup"] and sorted(row.reason for row in found.rows) == ["bad-shape", "size-mismatch"]


def test_what_is_called_ignore_counts_for_nothing(tmp_path: Path) -> None:
    car = region("p", "polygonlabels", "car", points=percents(CORNERS))
    blur = region("q", "polygonlabels", "__ignore__", points=percents([(30, 8), (40, 8), (40, 32), (30, 32)]))
    found = said(tmp_path, task(1, car, blur))
    wanted = polygon_mask(CORNERS) & ~polygon_mask([(30, 8), (40, 8), (40, 32), (30, 32)])
    assert found.phrases == ["car"] and np.array_equal(found.mask("car"), wanted) and not found.rows


def test_questions_are_asked_as_they_are(tmp_path: Path) -> None:
    shape = region("p", "polygonlabels", "car", points=percents(CORNERS))
    write_json(tmp_path / "export.json", [task(1, shape, text("p", "left car", "What may one drive?"))])
    (record,), _ = read("label_studio", tmp_path)
    assert [(request.text, request.form) for request in record.requests] == [
        ("left car", "phrase"),
        ("What may one drive?", "question"),
    ]


def test_the_small_export(tmp_path: Path) -> None:
    """JSON-MIN: values without results; texts of regions cannot be told from others, and are left."""
    shape = {"points": percents(TRIANGLE), "closed": True, "polygonlabels": ["car"], **SIZE}
    brush = {"format": "rle", "rle": GOLDEN[0]["rle"], "brushlabels": ["cloud"], **SIZE}
    entry = {
        "image": "/data/upload/7/1f2e3d4c-a.jpg",
        "id": 1,
        "label": [shape, brush],
        "no_target": "a cow",
        "phrase": "red",
    }
    put(tmp_path / "data", "a.jpg")
    write_json(
        tmp_path / "data/min.json",
        [entry, {**entry, "id": 2, "label": [{**shape, "points": 3}], "no_target": ["a cat"]}],
    )
    found = Said(tmp_path / "data", tmp_path / "out", "label_studio")
    assert found.phrases == ["a cat", "a cow", "cloud"] and found.reasons == [("task 2 result[0]", "bad-shape")]
    assert (
        np.array_equal(found.mask("cloud"), decoded(GOLDEN[0]["rle"], HEIGHT, WIDTH)) and not found.mask("a cow").any()
    )


def test_of_several_annotations_one_is_read(tmp_path: Path) -> None:
    def by(label: str, **other: Any) -> Json:
        return {"result": [region(label, "polygonlabels", label, points=percents(CORNERS))], **other}

    tasks = [
        {**task(1), "annotations": [by("old"), by("last"), by("skipped", was_cancelled=True)]},
        {**task(2, image="b.jpg"), "annotations": [by("truth", ground_truth=True), by("later")]},
        {**task(3, image="c.jpg"), "annotations": [], "predictions": [by("guessed")]},
        {"id": 4, "data": {"image": "d.jpg"}, "completions": [by("of version 0.9")]},
    ]
    found = said(tmp_path, *tasks, pictures=("a.jpg", "b.jpg", "d.jpg"))
    assert found.phrases == ["last", "of version 0.9", "truth"] and not found.rows


@pytest.mark.parametrize(
    ("data", "picture"),
    [
        ({"image": "/data/upload/7/1f2e3d4c-my%20cup.jpg"}, "my cup.jpg"),
        ({"image": "/data/upload/7/1f2e3d4c-cup.jpg"}, "upload/1f2e3d4c-cup.jpg"),
        ({"image": "/data/local-files/?d=shots/day%201/cup.jpg"}, "shots/day 1/cup.jpg"),
        ({"image": "s3://bucket/some/where/cup.jpg"}, "images/cup.jpg"),
        ({"image": "https://example.org/x/cup.jpg?size=3"}, "data/cup.jpg"),
        ({"photo": "cups/cup.jpg", "title": "a cup"}, "cups/cup.jpg"),
    ],
)
def test_pictures_are_found_by_what_is_left_of_their_names(data: Json, picture: str, tmp_path: Path) -> None:
    entry = task(1, region("p", "polygonlabels", "cup", points=percents(CORNERS)))
    found = said(tmp_path, {**entry, "data": data}, pictures=(picture,))
    assert found.phrases == ["cup"] and not found.rows


@pytest.mark.parametrize("other", [{"to_name": "second"}, {"item_index": 1}])
def test_regions_of_another_picture_of_the_task_are_told(other: Json, tmp_path: Path) -> None:
    """A task may show several pictures; the first is read."""
    shapes = [region(name, "polygonlabels", name, points=percents(CORNERS)) for name in ("car", "cup")]
    data = {"image": "a.jpg", "second": "b.jpg"}
    nothing = text("n", "a cow", field="no_target") | other
    found = said(
        tmp_path, {**task(1, shapes[0], shapes[1] | other, nothing), "data": data}, pictures=("a.jpg", "b.jpg")
    )
    assert found.phrases == ["car"]
    assert found.reasons == [("task 1 result[1]", "unused-entry"), ("task 1 result[2]", "unused-entry")]


def test_two_areas_of_one_id_are_told(tmp_path: Path) -> None:
    """Tools that write tasks for import do not all count regions; Label Studio shows the first of them."""
    shapes = [region("same", "polygonlabels", "car", points=percents(points)) for points in (CORNERS, TRIANGLE)]
    good = region("other", "polygonlabels", "cup", points=percents(CORNERS))
    found = said(tmp_path, task(1, *shapes, good))
    assert found.phrases == ["cup"] and found.reasons == [("task 1 result[0]", "duplicate-id")]


def test_relations_between_regions_are_passed_over(tmp_path: Path) -> None:
    arrow = {"from_id": "g", "to_id": "g", "type": "relation", "direction": "right", "labels": ["left of"]}
    found = said(tmp_path, task(1, region("g", "polygonlabels", "car", points=percents(CORNERS)), arrow))
    assert found.phrases == ["car"] and not found.rows


def test_what_cannot_be_used_is_told(tmp_path: Path) -> None:
    good = region("g", "polygonlabels", "good", points=percents(CORNERS))
    bad = [
        {**region("a", "polygonlabels", "turned", points=percents(CORNERS)), "image_rotation": 90},
        region("b", "keypointlabels", "point", x=3, y=3, width=1),
        region("c", "brushlabels", "brush", format="rle", rle=[1, 2, 300]),
        {
            **region("d", "brushlabels", "huge", format="rle", rle=[255] * 40),
            "original_width": 1e9,
            "original_height": 1e9,
        },
        {**region("e", "polygonlabels", "sizeless", points=percents(CORNERS)), "original_width": None},
        region("f", "polygonlabels", points=percents(CORNERS)),
        region("h", "polygonlabels", "line", points=percents(CORNERS[:2])),
        region("i", "polygonlabels", "odd", points=[[1, "x"]]),
        {"type": 3},
        region("j", "polygonlabels", "good", x=1),
    ]
    found = said(
        tmp_path,
        task(1, good, *bad[:-1]),
        task(2, good, image="../../nowhere.jpg"),
        task(3, good, image="/etc/passwd"),
        task(4, good, bad[-1], image="a.jpg"),
        "no task",
    )
    assert found.phrases == ["good"] and np.array_equal(found.mask("good", split="train"), polygon_mask(CORNERS))
    reasons = dict(found.reasons)
    assert [reasons[f"task 1 result[{place}]"] for place in range(1, 10)] == [
        "bad-shape", "no-area", "bad-shape", "bad-image", "bad-shape", "no-phrase", "bad-shape", "bad-shape", "bad-annotation",
    ]  # fmt: skip
    assert reasons["[4]"] == "bad-annotation" and reasons["task 4 result[1]"] == "bad-shape"
    assert {row.file for row in found.rows if row.reason == "picture-missing"} == {"nowhere.jpg", "passwd"}


@pytest.mark.parametrize("content", [b"", b"{", b'{"data": {"image": "a"}, "result": 1}', b"\x00\xff", b"[" * 3000])
def test_a_file_that_is_none_ends_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_bytes(content)
    with refused("export.json"):
        Said(path, tmp_path / "out", "label_studio")


def test_the_doctor_examines_it(tmp_path: Path) -> None:
    put(tmp_path, "images/a.jpg")
    write_json(tmp_path / "export.json", [task(1, region("p", "polygonlabels", "cup", points=percents(CORNERS)))])
    (report,) = [one for one in examine(tmp_path).datasets if one.dataset == "label_studio"]
    assert report.state == "ready" and [(s.split, s.counts.sentences, s.opened) for s in report.splits] == [
        ("train", 1, 1)
    ]
    assert not report.findings and not report.splits[0].findings


def test_a_real_export(real_data: Path, tmp_path: Path) -> None:
    file = real_data / "label_studio/data_polygons.json"
    put(tmp_path / "pictures", "000000000025.jpg", size=(640, 426))
    found = Said(file, tmp_path / "out", "label_studio", images=(tmp_path / "pictures",))
    assert found.phrases == ["Airplane"] and not found.rows
    (entry,) = json.loads(file.read_text())[0]["annotations"][0]["result"]
    points = [(x * 6.40, y * 4.26) for x, y in entry["value"]["points"]]
    assert np.mean(found.mask("Airplane") != polygon_mask(points, size=(640, 426))) < 1e-5
    drawn = Image.new("1", (640, 426))
    ImageDraw.Draw(drawn).polygon(points, fill=1)
    assert np.mean(found.mask("Airplane") != np.asarray(drawn)) < 0.01


def data_url(pixels: Any, mode: str) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


@pytest.mark.parametrize("kind", ["RGBA", "L", "1", "black"])
def test_bitmasks(kind: str, tmp_path: Path) -> None:
    """PNGs in the JSON: painted in a colour on nothing, also in black, or white on black."""
    painted = np.random.default_rng(3).random((HEIGHT, WIDTH)) > 0.6
    if kind in ("RGBA", "black"):
        colour = [0, 0, 0] if kind == "black" else [90, 0, 30]
        url = data_url(np.dstack([*(painted * value for value in colour), painted * 128]).astype(np.uint8), "RGBA")
    else:
        url = data_url((painted * 255).astype(np.uint8), kind)
    found = said(tmp_path, task(1, region("m", "bitmasklabels", "cat", imageDataURL=url)))
    assert found.phrases == ["cat"] and not found.rows and np.array_equal(found.mask("cat"), painted)


def test_bitmasks_that_are_none(tmp_path: Path) -> None:
    good = np.ones((HEIGHT, WIDTH), np.uint8) * 255
    bad = {
        "empty": data_url(good * 0, "L"),
        "unpainted": data_url(np.zeros((HEIGHT, WIDTH, 4), np.uint8), "RGBA"),
        "other size": data_url(good[:40], "L"),
        "no PNG": "data:image/png;base64,AAAA",
        "no base64": "data:image/png;base64,&&&",
        "an address": "http://example.org/mask.png",
        "a photograph": "data:image/jpeg;base64,AAAA",
    }
    regions = [region(name, "bitmasklabels", name, imageDataURL=url) for name, url in bad.items()]
    found = said(tmp_path, task(1, region("m", "bitmasklabels", "cat", imageDataURL=data_url(good, "L")), *regions))
    assert found.phrases == ["cat"] and [reason for _, reason in found.reasons] == ["bad-shape"] * len(bad)


def test_what_is_not_there_as_choices(tmp_path: Path) -> None:
    """Of a closed list of things, as people count on in a hurry."""
    ticked = {"id": "n", "type": "choices", "from_name": "no_target", "value": {"choices": ["a cow", "a dog"]}}
    found = said(tmp_path, task(1, ticked))
    assert found.phrases == ["a cow", "a dog"] and not found.rows and not found.mask("a cow").any()


@pytest.mark.parametrize("told", ["a cow", ["a cow"], {"choices": ["a cow"]}])
def test_what_is_not_there_in_the_small_export(told: Any, tmp_path: Path) -> None:
    shape = {"points": percents(TRIANGLE), "polygonlabels": ["car"], **SIZE}
    found = said(tmp_path, {"image": "a.jpg", "id": 1, "label": [shape], "no_target": told})
    assert found.phrases == ["a cow", "car"] and not found.rows and not found.mask("a cow").any()
