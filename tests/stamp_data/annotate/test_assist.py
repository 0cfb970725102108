"""Help that needs no weights, on scenes of which the truth is known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from stamp_data import rle
from stamp_data.annotate import assist
from stamp_schemas import StampError

from .making import put_images
from .serving import Served, Watched

pytest.importorskip("cv2")
UInt8 = npt.NDArray[np.uint8]


def scene(height: int, width: int) -> tuple[UInt8, UInt8]:
    """A noisy red ellipse on noisy green, and its mask."""
    ys, xs = np.mgrid[0:height, 0:width]
    mask = ((xs - width * 0.45) / (width * 0.2)) ** 2 + ((ys - height * 0.5) / (height * 0.25)) ** 2 < 1
    clean = np.where(mask[:, :, None], (200, 60, 40), (90, 120, 90))
    noisy = clean + np.random.default_rng(0).normal(0, 12, clean.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), mask.astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(120, 160), (1200, 900)])
def test_the_thing_in_a_box(height: int, width: int) -> None:
    pixels, mask = scene(height, width)
    found = assist.in_box(pixels, [(width * 0.7, height * 0.2), (width * 0.2, height * 0.8)]).masks
    assert rle.iou(found[0], rle.encode(mask)) > 0.97
    assert found == assist.in_box(pixels, [(width * 0.2, height * 0.2), (width * 0.7, height * 0.8)]).masks


@pytest.mark.parametrize(
    ("places", "told"),
    [
        ([(3, 3)], "two places"),
        ([(3, 3), (4, 4)], "too small"),
        ([(-9, -9), (999, 999)], "whole picture"),
        ([(500, 500), (600, 600)], "too small"),
    ],
)
def test_boxes_that_say_nothing(places: list[tuple[float, float]], told: str) -> None:
    with pytest.raises(StampError, match=told):
        assist.in_box(scene(60, 80)[0], places)


@pytest.mark.parametrize(("height", "width"), [(120, 160), (1500, 2000)])
def test_superpixels_keep_to_edges(height: int, width: int) -> None:
    pixels, mask = scene(height, width)
    for x, y in ((0.45, 0.5), (0.3, 0.55), (0.9, 0.1), (0.45, 0.72)):
        found = rle.decode(assist.alike(pixels, [(x * width, y * height)]).masks[0])
        side = mask[int(y * height), int(x * width)]
        assert found[int(y * height), int(x * width)] == 1
        assert (mask[found == 1] == side).mean() > 0.9
    with pytest.raises(StampError, match="outside"):
        assist.alike(pixels, [(-1.0, 3.0)])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (3, 3), (2, 60), (9, 3000)])
def test_superpixels_of_the_thinnest_pictures(height: int, width: int) -> None:
    found = rle.decode(assist.alike(scene(height, width)[0], [(0.5, 0.5)]).masks[0])
    assert found[0, 0] == 1 and found.sum() <= height * 200


@pytest.mark.parametrize(("height", "width"), [(120, 160), (1500, 2000)])
def test_scissors_follow_the_edge(height: int, width: int) -> None:
    pixels, _ = scene(height, width)
    start, end = (width * 0.25, height * 0.5), (width * 0.45, height * 0.25)
    path = assist.along_edge(pixels, [start, end]).path
    assert path[0] == start and path[-1] == end
    across = [(x - width * 0.45) / (width * 0.2) for x, _ in path]
    down = [(y - height * 0.5) / (height * 0.25) for _, y in path]
    assert (
        max(abs(np.hypot(across, down) - 1)) * width * 0.2 < 4
    )  # pixels; a straight line would leave it by 12 and more


@pytest.mark.browser
def test_on_the_page(chromium: Any, tmp_path: Path) -> None:
    pixels, mask = scene(120, 160)
    root = put_images(tmp_path / "photos", "a.png")
    Image.fromarray(pixels).save(root / "a.png")
    served = Served(root)
    watched = Watched(chromium, served.address)
    watched.say("in a box")
    watched.keys("c")
    watched.pen((30, 20), (110, 100))
    watched.wait("annotate.session.masks.length === 1")
    watched.say("a part of it")
    watched.keys("S")
    watched.pen((72, 60))
    watched.wait("annotate.session.masks.length === 2")
    before = watched.page.evaluate("annotate.session.masks[1].rle.counts.length")
    watched.pen((50, 60))
    watched.wait(f"annotate.session.masks[1].rle.counts.length !== {before}")
    watched.say("along its edge")
    watched.keys("s")
    for corner in ((40, 60), (72, 30), (104, 60), (72, 90)):
        watched.pen(corner)
    watched.keys("Enter")
    watched.wait("annotate.session.masks.length === 3")
    watched.saved()
    truth, document = rle.encode(mask), served.document()
    assert [phrase.masks for phrase in document.phrases] == [["m1"], ["m2"], ["m3"]]
    assert rle.iou(document.masks[0].rle, truth) > 0.97
    assert rle.iou(document.masks[2].rle, truth) > 0.93
    assert served.ask("api/suggest?image=0", {"tool": "edge", "places": [[1, 1]]})[0] == 422
    assert served.ask("api/suggest?image=0", {"tool": "x", "places": []})[0] == 422
    assert served.ask("api/suggest?image=0", {"tool": "edge", "places": [["a", 1]]})[0] == 400
    watched.close()
    served.close()


def test_without_opencv_it_is_said_how_to_get_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['cv2'] = None; sys.path.insert(0, '.')\n"
        "from pathlib import Path\n"
        "from tests.stamp_data.annotate.serving import Served\n"
        f"served = Served(Path({str(put_images(tmp_path, 'a.png'))!r}))\n"
        "print(served.ask('api/suggest?image=0', {'tool': 'alike', 'places': [[1, 1]]}))\n"
        "served.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "cv2 is not installed" in done.stdout and "[annotate]" in done.stdout, done.stderr
