"""Contact sheets and single pictures: the same bytes each time, whatever the texts."""

from __future__ import annotations

from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stamp_data.draw import OVERLAYS
from stamp_data.inspect.selection import Selection
from stamp_data.inspect.sheet import GAP, NO_TARGET, QUIET, WIDTH, arranged, fitted, font, write_sample, write_sheet
from stamp_schemas import StampError, UsageFault

from .scenes import Scene, chat, write_set


def test_sheet_is_the_same_twice(zoo_set: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    summary = write_sheet([zoo_set], one, Selection(seed=2), limit=6)
    write_sheet([zoo_set], other, Selection(seed=2), limit=6)
    assert one.read_bytes() == other.read_bytes()
    assert (summary.records, summary.width) == (6, Image.open(one).width)
    write_sheet([zoo_set], other, Selection(seed=3), limit=6)
    assert one.read_bytes() != other.read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_sheet_shows_what_is_asked_for(zoo_set: Path, tmp_path: Path) -> None:
    assert write_sheet([zoo_set], tmp_path / "a.png", Selection(where="'ant' in categories")).records == 1
    assert write_sheet([zoo_set], tmp_path / "a.png", Selection(sort="-area"), limit=2).records == 2
    with pytest.raises(StampError, match="no record to show"):
        write_sheet([zoo_set], tmp_path / "b.png", Selection(where="area > 3"))
    with pytest.raises(UsageFault):
        write_sheet([zoo_set], tmp_path / "b.png", limit=0)
    assert not (tmp_path / "b.png").exists()
    with pytest.raises(FileNotFoundError, match=r"missing/a\.png"):
        write_sheet([zoo_set], tmp_path / "missing" / "a.png", limit=1)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_sample_in_every_overlay(overlay: str, zoo_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "one.png"
    write_sample([zoo_set], "r01", out, overlay=overlay)  # type: ignore[arg-type]
    assert Image.open(out).size[0] == 160
    write_sample([zoo_set], "hostile", out, overlay=overlay)  # type: ignore[arg-type]


def test_sample_without_a_picture_is_refused(zoo_set: Path, tmp_path: Path) -> None:
    with pytest.raises(StampError, match="without a picture"):
        write_sample([zoo_set], "talk", tmp_path / "one.png")


def test_broken_pictures_and_conversations_get_a_cell(tmp_path: Path) -> None:
    broken = Scene("broken").target("a", (5, 5, 50, 50)).says("it", [0]).made()
    broken.image = b"no picture"
    folder = write_set(tmp_path, [broken, chat("talk", "Hello", "Hi")])
    assert write_sheet([folder], tmp_path / "a.png").records == 2


def test_text_is_cut_where_it_ends() -> None:
    style = font(15)
    for text in ("word " * 60, "x" * 400, "", "a", "многа букв " * 20):
        lines = fitted(text, 200, 2, style)
        assert 1 <= len(lines) <= 2
        assert all(style.getlength(line) <= 200 for line in lines)
    assert fitted("word " * 60, 200, 2, style)[-1].endswith("…")


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13, 48])
def test_rows_reach_from_edge_to_edge_in_order(count: int) -> None:
    for seed in range(20):
        shapes = np.random.default_rng(seed).uniform(0.62, 2.5, count).tolist()
        width, rows = arranged(shapes)
        assert width <= WIDTH and [place for row in rows for place in row] and sum(map(len, rows)) == count
        for row in rows:
            assert row[0].left == GAP and all(
                right.left - left.left - left.width == GAP for left, right in pairwise(row)
            )
            used = row[-1].left + row[-1].width + GAP
            assert used <= width + 1 and (used > 0.6 * width or len(rows) > 1)
        filled = sum(place.width for row in rows for place in row) + GAP * (count + len(rows))
        assert filled > 0.8 * width * len(rows)
        flat = [
            (place.width / place.height, shape) for place, shape in zip(chain.from_iterable(rows), shapes, strict=True)
        ]
        assert all(abs(made - shape) < 0.05 for made, shape in flat)


def test_no_target_is_said_on_the_sheet(tmp_path: Path) -> None:
    folder = write_set(tmp_path, [Scene("none").target("a", None).says("the unicorn", [0]).made()])
    write_sheet([folder], tmp_path / "a.png")
    seen = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    ground = tuple(int(QUIET[at : at + 2], 16) for at in (1, 3, 5))
    wide = int(font(12).getlength(NO_TARGET))
    assert (seen == ground).all(axis=2).sum() > 5 * wide
