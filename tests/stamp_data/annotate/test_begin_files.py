"""Annotations that begin from files of other tools, read as a build reads them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stamp_data import rle
from stamp_data.annotate.begin import begin_from
from stamp_data.annotate.change import Change
from stamp_data.annotate.images import Images
from stamp_data.annotate.store import Store
from stamp_schemas import StampError, UsageFault
from stamp_schemas.annotated import AnnotatedImage

from .making import HEIGHT, WIDTH, drawn, image, put_images

NAME = "a.png"
BOX = [[8.0, 8.0, 40.0, 8.0, 40.0, 32.0, 8.0, 32.0]]  # covers x 8 to 40, y 8 to 32
CORNERS = [[8.0, 8.0], [40.0, 8.0], [40.0, 32.0], [8.0, 32.0]]
PERCENT = [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in CORNERS]


def coco(folder: Path) -> Path:
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": BOX, "expression": "the cup"}
    content = {
        "images": [{"id": 1, "file_name": NAME, "width": WIDTH, "height": HEIGHT}],
        "annotations": [annotation],
        "categories": [{"id": 1, "name": "cup"}],
    }
    return _write(folder / "own.json", content)


def labelme(folder: Path) -> Path:
    shape = {"label": "the cup", "shape_type": "polygon", "points": CORNERS, "flags": {}, "group_id": None}
    content = {"imagePath": NAME, "imageData": None, "imageWidth": WIDTH, "imageHeight": HEIGHT, "shapes": [shape]}
    _write(folder / "a.json", {"version": "5.4.1", "flags": {"no_target: a cow": True}, **content})
    return folder


def label_studio(folder: Path) -> Path:
    value = {"points": PERCENT, "polygonlabels": ["the cup"], "closed": True}
    result = {
        "id": "r1", "type": "polygonlabels", "from_name": "label", "to_name": "image", "value": value,
        "original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0,
    }  # fmt: skip
    return _write(folder / "tasks.json", [{"id": 1, "data": {"image": NAME}, "annotations": [{"result": [result]}]}])


def cvat(folder: Path) -> Path:
    points = ";".join(f"{x},{y}" for x, y in CORNERS)
    path = folder / "annotations.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<annotations><version>1.1</version><image id="0" name="{NAME}" width="{WIDTH}" height="{HEIGHT}">'
        f'<polygon label="the cup" points="{points}" z_order="0"/></image></annotations>'
    )
    return path


def saco(folder: Path) -> Path:
    content = {
        "images": [
            {"id": 1, "file_name": NAME, "width": WIDTH, "height": HEIGHT, "text_input": "the cup"},
            {"id": 2, "file_name": NAME, "width": WIDTH, "height": HEIGHT, "text_input": "a cow"},
        ],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": _rle(), "bbox": [0, 0, 1, 1]}],
        "categories": [{"id": 1, "name": "object"}],
    }
    return _write(folder / "gold.json", content)


def sa2va(folder: Path) -> Path:
    return _write(folder / "train.json", [{"image": NAME, "mask": [BOX], "text": ["the cup"]}])


def ours(folder: Path) -> Path:
    change = drawn()
    phrase = change.phrases["p1"]
    assert phrase is not None
    phrase.text = "the cup"
    Store(folder, "Bob").change(image(NAME), 0, change)
    return folder


def _rle() -> dict[str, object]:
    held = rle.encode(_pixels())
    return {"size": list(held.size), "counts": held.counts}


def _pixels() -> np.ndarray:
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[8:32, 8:40] = 1
    return pixels


def _write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures, of which the files of other tools know the first."""
    return put_images(tmp_path / "photos", NAME, "b.png")


def begun(photos: Path, place: str, folder: Path) -> AnnotatedImage:
    images, store = Images(photos), Store(folder)
    told = begin_from([place], images, store)
    assert (told.known, told.begun, told.sets) == (1, 1, False)
    document = store.peek(NAME)
    assert document is not None
    return document


@pytest.mark.parametrize("written", [coco, labelme, label_studio, cvat, saco, sa2va, ours])
def test_what_other_tools_wrote_is_proposed(written: Callable[[Path], Path], photos: Path, tmp_path: Path) -> None:
    place = written(tmp_path / "other")
    document = begun(photos, str(place), tmp_path / "out")
    by_text = {phrase.text: phrase for phrase in document.phrases}
    assert {phrase.status for phrase in document.phrases} == {"proposed"}
    assert set(by_text) - {"a cow"} == {"the cup"}
    (name,) = by_text["the cup"].masks
    mask = next(one for one in document.masks if one.id == name)
    assert np.array_equal(rle.decode(mask.rle), _pixels())
    assert mask.proposal and mask.proposal.model == str(place)[-200:] and mask.proposal.rle == mask.rle
    if "a cow" in by_text:
        assert by_text["a cow"].nothing == "other"
    assert document.reviewed is None, "a patch is of built sets"


def test_what_is_unclear_may_be_said(photos: Path, tmp_path: Path) -> None:
    cvat(tmp_path / "other")
    labelme(tmp_path / "other")
    with pytest.raises(UsageFault, match="may be labelme, cvat"):
        begin_from([str(tmp_path / "other")], Images(photos), Store(tmp_path / "out"))
    document = begun(photos, f"labelme={tmp_path / 'other'}", tmp_path / "out")
    assert [phrase.text for phrase in document.phrases] == ["a cow", "the cup"]
    with pytest.raises(UsageFault, match="no dataset is called 'labelmee'"):
        begin_from([f"labelmee={tmp_path / 'other'}"], Images(photos), Store(tmp_path / "out"))


def test_files_and_sets_do_not_overwrite_what_is_said(photos: Path, tmp_path: Path) -> None:
    images, store = Images(photos), Store(tmp_path / "out")
    store.change(images.file(0), 0, Change(notes="mine"))
    assert begin_from([str(coco(tmp_path / "other"))], images, store).begun == 0
    assert store.open(images.file(0)).document.phrases == []


def test_bad_files_cost_what_they_say_and_are_told(photos: Path, tmp_path: Path) -> None:
    path = coco(tmp_path / "other")
    content = json.loads(path.read_text())
    content["annotations"].append({**content["annotations"][0], "id": 2, "segmentation": [], "expression": "bad"})
    content["images"].append({"id": 2, "file_name": "../../outside.png", "width": WIDTH, "height": HEIGHT})
    content["annotations"].append({**content["annotations"][0], "id": 3, "image_id": 2})
    path.write_text(json.dumps(content))
    told = begin_from([str(path)], Images(photos), Store(tmp_path / "out"))
    assert told.begun == 1
    assert {row.reason for row in told.rejects.rows} >= {"empty-segmentation", "path-escape"}
    path.write_text("{")
    with pytest.raises(StampError):
        begin_from([str(path)], Images(photos), Store(tmp_path / "other-out"))


def test_a_picture_of_which_too_much_is_said_does_not_stop_the_others(photos: Path, tmp_path: Path) -> None:
    path = coco(tmp_path / "other")
    content = json.loads(path.read_text())
    (first,) = content["annotations"]
    other = next(one.name for one in sorted(photos.iterdir()) if one.name != NAME)
    content["images"].append({**content["images"][0], "id": 2, "file_name": other})
    content["annotations"] += [{**first, "id": number, "expression": f"thing {number}"} for number in range(10, 1010)]
    content["annotations"].append({**first, "id": 2, "image_id": 2})
    path.write_text(json.dumps(content))
    told = begin_from([str(path)], Images(photos), Store(tmp_path / "out"))
    assert (told.known, told.begun) == (2, 1)
    (refused,) = told.refused
    assert refused.startswith(f"{NAME}: this cannot be kept") and "1000" in refused


def test_the_command(photos: Path, tmp_path: Path) -> None:
    path = coco(tmp_path / "other")
    code = "from stamp_cli.data import main; main()"
    running = subprocess.Popen(
        [sys.executable, "-c", code, "annotate", str(photos), "--from", str(path)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert running.stderr is not None
    assert running.stderr.readline() == f"1 of 2 pictures are in {path}; 1 were begun from there\n"
    assert running.stderr.readline().startswith("http://127.0.0.1:")
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    held = json.loads((photos / "annotations" / f"{NAME}.json").read_text())
    assert held["phrases"][0]["text"] == "the cup" and held["phrases"][0]["status"] == "proposed"
