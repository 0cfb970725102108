"""The page of an evaluation in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import numpy as np
import pytest

from stamp_data import rle
from stamp_schemas import UsageFault
from stamp_train.eval.page import read_against, write_page
from stamp_train.eval.results import read_lines, write_results
from stamp_train.eval.scoring import Line
from stamp_train.eval.session import Session

from ...browsing import Watched
from ..runs import make_shards
from .test_session import labels_of

pytestmark = pytest.mark.browser
LINES = """["truth", "drawn", "others"].map((name) => getComputedStyle(document.querySelector(`.key .${name}`)))
  .map(({fill, stroke, strokeDasharray}) => [fill, stroke, strokeDasharray])"""
IOUS = "[...document.querySelectorAll('.case b')].map((node) => Number(node.textContent))"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Line], Path]:
    """An evaluation beside one that is a little worse in every case but the first."""
    home = tmp_path_factory.mktemp("page")
    shards = make_shards(home / "shards")
    session = Session(labels_of(shards, home / "out"))
    session.work(lambda *_: None)
    results, lines = session.results()
    for number, line in enumerate(lines):
        line.iou = round(0.05 + 0.9 * number / len(lines), 3)
        line.flags = ["no_seg"] if number == 2 else []
    lines[2].counts = rle.encode(np.zeros(lines[2].size, np.uint8)).counts
    other = [msgspec.structs.replace(line, iou=max(0.0, line.iou - 0.05)) for line in lines]
    other[0].iou = 0.5
    (home / "other").mkdir()
    write_results(home / "other", results, other)
    write_page(home / "out", results, lines, session.sets, "stamp", against=read_against(home / "other"))
    return home, lines, shards


@pytest.fixture
def watched(chromium: Any, world: tuple[Path, list[Line], Path]) -> Iterator[Watched]:
    watched = Watched(chromium, (world[0] / "out/page.html").as_uri())
    yield watched
    watched.close()


def test_cases_are_sorted_and_filtered(watched: Watched, world: tuple[Path, list[Line], Path]) -> None:
    page, lines = watched.page, world[1]
    ious = sorted(line.iou for line in lines)
    assert page.evaluate(IOUS) == pytest.approx(ious)
    page.select_option("#choose-sort", "best")
    assert page.evaluate(IOUS) == pytest.approx(ious[::-1])
    page.select_option("#choose-sort", "lost")
    assert page.evaluate(IOUS)[0] == pytest.approx(lines[0].iou)  # the one in which the other is better
    page.select_option("#choose-flag", "no_seg")
    assert page.evaluate(IOUS) == pytest.approx([lines[2].iou])
    assert "nothing predicted" in page.text_content(".case")
    page.select_option("#choose-flag", "")
    assert page.evaluate(LINES) == page.evaluate(LINES.replace(".key", ".case")), "samples are drawn as masks are"
    page.fill("#choose-text", lines[1].id)
    assert watched.count(".case") == sum(line.id == lines[1].id for line in lines)
    page.fill("#choose-text", "nothing like this")
    page.wait_for_selector("#empty:visible")
    page.fill("#choose-text", "")
    sizes = []
    for name in ("small", "middle", "large"):
        page.select_option("#choose-size", name)
        sizes.append(watched.count(".case"))
    assert sum(sizes) == sum(line.score.target > 0 for line in lines if line.score)
    page.select_option("#choose-size", "")
    counts = page.evaluate(
        "[...document.querySelectorAll('.bins [data-bin]')].map((node) => node.title.split(': ')[1] | 0)"
    )
    assert sum(counts) == len(lines)
    first = next(place for place, count in enumerate(counts) if count)
    page.locator(".bins [data-bin]").nth(first).click()
    assert watched.count(".case") == counts[first]


def test_a_case_is_shown_large_with_both_masks_and_the_other(
    watched: Watched, world: tuple[Path, list[Line], Path]
) -> None:
    page, lines = watched.page, world[1]
    assert page.inner_text("table >> nth=0").count("this evaluation") == 1  # one's own comes first
    page.click(".case >> nth=0")
    page.wait_for_selector("#large[open]")
    assert "−" in page.inner_text("#large") and lines[0].expression in page.inner_text("#large h2")
    assert watched.count("#large .truth") == watched.count("#large .drawn") == watched.count("#large .others") == 1
    watched.keys("2", "3")
    assert (watched.count("#large .truth"), watched.count("#large .drawn"), watched.count("#large .others")) == (
        1,
        0,
        0,
    )
    wide = page.locator("#large .frame").bounding_box()["width"]
    watched.keys("=")
    assert page.locator("#large .frame").bounding_box()["width"] == pytest.approx(1.25 * wide, abs=0.05)
    watched.keys("j")
    watched.wait(f"document.querySelector('#large b').textContent === '{lines[1].iou:.3f}'")
    commands = page.evaluate("[...document.querySelectorAll('#large .command')].map((node) => node.value)")
    record = lines[1].id.partition("/")[0]
    assert f"--key {record}" in commands[0] and str(world[2]) in commands[0]
    assert not page.is_visible("#large a >> nth=0")
    page.fill("#large input[aria-label='Address of gallery']", "javascript:alert(1)")
    assert not page.is_visible("#large a >> nth=0")
    page.fill("#large input[aria-label='Address of gallery']", "http://127.0.0.1:1/token/")
    page.fill("#large input[aria-label='Address of annotate']", "http://127.0.0.1:2/token/")
    links = page.evaluate("[...document.querySelectorAll('#large a')].map((node) => node.href)")
    dialogue = lines[1].id.split("/")[1]
    assert links[0] == f"http://127.0.0.1:1/token/#{urlencode({'set': lines[1].set, 'key': record, 'd': dialogue})}"
    assert links[1].startswith("http://127.0.0.1:2/token/#picture=")
    with page.expect_download() as download:
        page.click("#large .toggle:has-text('List of')")
    (row,) = map(json.loads, Path(download.value.path()).read_text().splitlines())
    assert (row["set"], row["record"]) == (lines[1].set, lines[1].id.partition("/")[0])
    watched.keys("Escape")
    watched.wait("document.activeElement.className === 'case'")


def test_another_evaluation_has_to_be_of_these_cases(world: tuple[Path, list[Line], Path], tmp_path: Path) -> None:
    session = Session(labels_of(world[2], world[0] / "out"))
    results, lines = session.results()
    for line in (strange := read_lines(world[0] / "other/cases.jsonl")):
        line.id = f"no-{line.id}"
    write_results(tmp_path, results, strange)
    with pytest.raises(UsageFault, match="has scored none of these cases"):
        write_page(world[0] / "out", results, lines, session.sets, "stamp", against=read_against(tmp_path))
    with pytest.raises(UsageFault, match=r"results\.json"):
        read_against(tmp_path / "nowhere")
