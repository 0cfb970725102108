"""The samples of docs/formats.md, built by the commands above them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stamp_data.export import export_sets
from stamp_data.shards.manifest import find_sets
from stamp_data.sources import SOURCES
from stamp_data.sources.formats.core import FormatSource

from .making import HEIGHT, WIDTH, Said, put

PAGE = (Path(__file__).parents[4] / "docs/formats.md").read_text(encoding="utf-8")
SECTIONS = {
    found[1]: (found[2], re.findall(r"```\w+ (\S+)\n(.*?)```", section, re.DOTALL))
    for section in PAGE.split("\n## ")[1:]
    if (found := re.search(r"`stamp-data build (\w+) --root (\S+) ", section))
}


def test_every_format_has_a_section_and_a_row() -> None:
    names = {name for name, kind in SOURCES.items() if issubclass(kind, FormatSource)}
    assert set(SECTIONS) == names
    assert all(f"| [`{name}`](#" in PAGE for name in names)


def sample(name: str, folder: Path, size: tuple[int, int] = (WIDTH, HEIGHT), **save: Any) -> Said:
    """What the command of a section makes of its sample and of pictures of this size."""
    root, files = SECTIONS[name]
    put(folder, "images/train/a.jpg" if name == "yolo" else "a.jpg", "b.jpg", "7.jpg", size=size, **save)
    if name == "masks":
        indices = np.random.default_rng(1).integers(0, 3, (HEIGHT, WIDTH)).astype(np.uint8)
        Image.fromarray(indices).save(folder / "a.png")
    for path, text in files:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return Said(folder / root, folder.with_name(f"{folder.name}-built"), name, images=(folder,))


@pytest.mark.parametrize("name", [name for name, (_, files) in SECTIONS.items() if files])
def test_a_sample_is_built_as_the_page_says(name: str, tmp_path: Path) -> None:
    found = sample(name, tmp_path / "data")
    assert not found.rows and found.phrases
    nothing = [phrase for phrase in found.phrases if not found.mask(phrase).any()]
    assert bool(nothing) is (name != "yolo")


@pytest.mark.parametrize("name", [name for name, (_, files) in SECTIONS.items() if files])
def test_a_sample_goes_out_as_coco_and_comes_back(name: str, tmp_path: Path) -> None:
    found = sample(name, tmp_path / "data")
    shards = tmp_path / "data-built" / name
    export_sets(find_sets(shards), "coco", tmp_path / "coco")
    again = Said(tmp_path / "coco", tmp_path / "again", "coco")
    assert not again.rows and again.phrases == found.phrases
    assert all(np.array_equal(again.mask(phrase), found.mask(phrase)) for phrase in found.phrases)


@pytest.mark.parametrize("name", ["label_studio", "cvat", "yolo", "via"])
def test_coordinates_of_the_upright_picture(name: str, tmp_path: Path) -> None:
    """A camera that was held sideways: stored as 48×64 pixels, shown as 64×48."""
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = sample(name, tmp_path / "plain")
    turned = sample(name, tmp_path / "turned", (HEIGHT, WIDTH), exif=exif)
    assert not turned.rows and turned.phrases == plain.phrases
    assert all(np.array_equal(turned.mask(phrase), np.rot90(plain.mask(phrase))) for phrase in plain.phrases)
