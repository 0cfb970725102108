"""Nearly the same pictures: found, and shown side by side."""

from __future__ import annotations

import io
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from stamp_data.inspect.concat import ConcatDataset
from stamp_data.inspect.gallery import write_gallery
from stamp_data.inspect.near import BITS, difference_hash, groups_of, hashes_of

from ...browsing import Watched
from .scenes import Scene, chat, write_set
from .test_server import Served

NEAR = "[...document.querySelectorAll('.card')].map((card) => card.getAttribute('aria-label'))"


def changed(picture: Image.Image) -> list[Image.Image]:
    """What people do to pictures."""
    wide, high = picture.size
    cut = picture.crop((1, 1, wide - 1, high - 1))
    return [picture.resize((wide // 2, high // 2)), ImageEnhance.Brightness(picture).enhance(1.1), cut]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets: of the first one the pictures 0 and 2 come back smaller and brighter, and picture 1 unchanged in the second."""
    out = tmp_path_factory.mktemp("near")
    made = [Scene(f"r{i}", seed=i).target("a", (1, 1, 40, 40)).says(f"it {i}", [0]).made() for i in range(5)]
    for place, (origin, kind) in enumerate([(2, 1), (0, 0), (0, 1)]):
        copy = Scene(f"x{place}").target("a", (1, 1, 40, 40)).says("a copy", [0]).made()
        pixels = changed(Image.open(io.BytesIO(made[origin].image or b"")))[kind].resize((160, 120))
        buffer = io.BytesIO()
        pixels.save(buffer, "JPEG", quality=70)
        copy.image = buffer.getvalue()
        made.append(copy)
    broken = Scene("broken").target("a", (5, 5, 50, 50)).says("it", [0]).made()
    broken.image = b"no picture"
    write_set(out, [*made, broken, chat("talk", "Hello", "Hi")])
    shared = Scene("v1", seed=1).target("a", (1, 1, 40, 40)).says("it 1", [0]).made("val")
    return write_set(out, [shared], split="val").parents[1]


def test_copies_differ_in_few_bits_and_other_pictures_in_many() -> None:
    pictures = [
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)).resize((320, 240))
        for seed in range(30)
    ]
    hashes = [difference_hash(picture) for picture in pictures]
    assert all(one.shape == (BITS,) for one in hashes)
    assert (
        max(
            int((difference_hash(copy) != one).sum())
            for picture, one in zip(pictures, hashes, strict=True)
            for copy in changed(picture)
        )
        <= 16
    )
    assert min(int((one != other).sum()) for one, other in combinations(hashes, 2)) > 16


def test_groups_are_those_of_a_plain_search(folder: Path) -> None:
    with ConcatDataset([folder]) as dataset:
        keys = [key for _, key in list(dataset.keys())]
        hashes = {number: found for number, found in hashes_of(dataset, range(len(dataset))) if found is not None}
        groups = groups_of(hashes, dataset)
    assert {keys[number] for number in set(range(len(keys))) - set(hashes)} == {"broken", "talk"}
    named = {keys[number]: group for number, group in groups.items()}
    assert named == {"r0": "1", "x1": "1", "x2": "1", "r2": "2", "x0": "2"}  # r1 and v1 are one picture of two sets
    close = {
        (keys[one], keys[other])
        for one, other in combinations(hashes, 2)
        if (hashes[one] != hashes[other]).sum() <= 16 and {keys[one], keys[other]} != {"r1", "v1"}
    }
    assert all(named[one] == named[other] for one, other in close)
    assert {key for pair in close for key in pair} == set(named)


def test_plain_pictures_with_little_in_them_are_not_all_alike() -> None:
    def plain(left: int) -> Image.Image:
        picture = Image.new("RGB", (160, 120), "white")
        picture.paste((0, 0, 0), (left, 40, left + 20, 60))
        return picture

    class Sets:  # all that is asked of a ConcatDataset here
        starts = np.array([0, 3])

        def column(self, _name: str) -> np.ndarray[Any, Any]:
            return np.arange(3)

    hashes = {place: difference_hash(plain(left)) for place, left in enumerate((10, 120, 121))}
    assert groups_of(hashes, Sets()) == {1: "1", 2: "1"}  # type: ignore[arg-type]


@pytest.mark.browser
@pytest.mark.parametrize("served", [True, False])
def test_a_page_shows_them_side_by_side(served: bool, folder: Path, chromium: Any, tmp_path: Path) -> None:
    running = Served([folder]) if served else None
    if not running:
        write_gallery([folder], tmp_path / "page.html")
    watched = Watched(chromium, running.address if running else (tmp_path / "page.html").as_uri())
    page = watched.page
    page.click("#filter-near")
    watched.wait("document.querySelectorAll('.card').length === 5")
    assert page.evaluate(NEAR) == ["r0", "x1", "x2", "r2", "x0"]
    tops = page.evaluate("[...document.querySelectorAll('.card')].map((card) => card.offsetTop)")
    assert tops[0] == tops[1] == tops[2] < tops[3] == tops[4]
    page.click(".card >> nth=3")
    page.click(".alike button")
    watched.wait("document.querySelector('#detail code')?.textContent === 'x0'")
    page.click(".near .link")
    watched.wait("document.querySelectorAll('.card').length === 2")
    assert page.evaluate(NEAR) == ["r2", "x0"]
    watched.wait("document.querySelector('#of').textContent.trim() === 'of 2 records'")
    page.click("#reset")
    watched.wait("document.querySelectorAll('.card').length === 11")
    watched.close()
    if running:
        running.close()
