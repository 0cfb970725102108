"""Looking closely: zoom, single targets, statistics of what is shown; and that all of it can be seen and hit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stamp_data.inspect.gallery import write_gallery

from ...browsing import SMALL, Watched
from .scenes import Scene, write_set
from .test_server import Served

pytestmark = pytest.mark.browser
FRAME = """(() => {
  const {width, left, top} = document.querySelector('#detail .frame').getBoundingClientRect();
  return {width, left, top};
})()"""
COUNTED = """[...document.querySelectorAll(".chart title")].map((node) => Number(node.textContent.split(": ")[1]))
  .reduce((a, b) => a + b)"""


def scenes() -> list[Scene]:
    both = Scene("both").target("one", (20, 20, 90, 90)).target("two", (60, 60, 140, 110)).target("far", (2, 2, 12, 12))
    both.says("one of them", [0]).says("two of them", [0, 1]).says("far away", [2])
    none = Scene("none", seed=1).target("nothing", None).says("the unicorn", [0])
    return [both, none, *(Scene(f"r{i}", seed=i).target("a", (5, 5, 30, 40)).says(f"it {i}", [0]) for i in range(2, 9))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("looking"), [scene.made() for scene in scenes()])


@pytest.fixture(scope="module")
def gallery(folder: Path) -> Path:
    write_gallery([folder], folder / "gallery.html")
    return folder / "gallery.html"


@pytest.fixture
def watched(chromium: Any, gallery: Path) -> Iterator[Watched]:
    watched = Watched(chromium, gallery.as_uri())
    yield watched
    watched.close()


def test_a_record_is_zoomed_and_pulled(watched: Watched) -> None:
    page = watched.page
    page.click(".card >> nth=0")
    page.wait_for_selector("#detail .overlay")
    page.hover("#detail .head >> nth=0")
    whole = page.evaluate(FRAME)
    watched.keys("=")
    assert page.evaluate(FRAME)["width"] == pytest.approx(1.25 * whole["width"], abs=0.05)
    watched.keys("V")
    assert page.evaluate(FRAME)["width"] == pytest.approx(160, abs=0.05)
    watched.keys("v")
    assert page.evaluate(FRAME) == pytest.approx(whole, abs=0.05)
    box = page.locator("#detail .canvas").bounding_box()
    at = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*at)
    page.mouse.wheel(0, -1200)
    large = page.evaluate(FRAME)
    assert large["width"] / 160 > 10 and page.locator("#detail .frame.pixels").count() == 1
    assert (at[0] - large["left"]) / large["width"] == pytest.approx((at[0] - whole["left"]) / whole["width"], abs=1e-3)
    page.mouse.down()
    page.mouse.move(at[0] + 50, at[1] + 30)
    page.mouse.up()
    moved = page.evaluate(FRAME)
    assert (moved["left"] - large["left"], moved["top"] - large["top"]) == pytest.approx((50, 30), abs=0.05)
    page.mouse.dblclick(*at)
    assert page.evaluate(FRAME) == pytest.approx(whole, abs=0.05)


def test_keys_zoom_and_move_the_picture_and_leave_the_slider_its_own(watched: Watched) -> None:
    page = watched.page
    page.click(".card >> nth=0")
    page.wait_for_selector("#detail .overlay")
    key = page.inner_text("#detail code")
    whole, high = page.evaluate(FRAME), page.locator("#detail .frame").bounding_box()["height"]
    watched.keys("+", "Shift+ArrowRight", "Shift+ArrowDown", "Shift+ArrowDown")
    moved = page.evaluate(FRAME)
    assert moved["width"] == pytest.approx(1.25 * whole["width"], abs=0.05)
    assert moved["left"] == pytest.approx(whole["left"] - whole["width"] / 8 - 60, abs=0.1)
    assert moved["top"] == pytest.approx(whole["top"] - high / 8 - 120, abs=0.1)
    assert page.evaluate("getComputedStyle(document.activeElement).outlineOffset") == "-2px", "else it is cut off"
    slider = page.locator("#detail [type=range]")
    before = float(slider.input_value())
    slider.focus()
    watched.keys("ArrowRight", "ArrowRight")
    assert float(slider.input_value()) == before + 2 and page.inner_text("#detail code") == key
    page.set_viewport_size({"width": 1280, "height": 400})
    watched.keys("?")
    assert page.evaluate("document.getElementById('keys').scrollTop") == 0
    assert "Shift arrows" in page.inner_text("#keys") and "ArrowLeft" not in page.inner_text("#keys")
    watched.keys("?")


def test_two_fingers_zoom(chromium: Any, gallery: Path) -> None:
    context = chromium.new_context(viewport={"width": 400, "height": 800}, has_touch=True)
    page = context.new_page()
    page.goto(f"{gallery.as_uri()}#key=both")
    page.wait_for_selector("#detail .overlay")
    before = page.evaluate(FRAME)["width"]
    driver = context.new_cdp_session(page)
    for kind, places in (("touchStart", (180, 220)), ("touchMove", (150, 250)), ("touchEnd", ())):
        points = [{"x": x, "y": 150, "id": number} for number, x in enumerate(places)]
        driver.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert page.evaluate(FRAME)["width"] == pytest.approx(2.5 * before, rel=0.02)
    context.close()


def test_arrows_and_letters_go_through_records_and_the_focus_stays_inside(watched: Watched) -> None:
    page = watched.page
    page.click(".card >> nth=0")
    page.focus("#detail [aria-label='Next record']")
    for key, name in (("ArrowRight", "none"), ("j", "r2"), ("k", "none"), ("ArrowLeft", "both")):
        watched.keys(key)
        watched.wait(f"document.querySelector('#detail code').textContent === '{name}'")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Next record"
    for _ in range(40):
        watched.keys("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('#detail')")


def test_a_target_under_the_pointer_stands_alone_and_shared_pixels_are_striped(watched: Watched) -> None:
    page = watched.page
    assert page.locator(".card:first-child .both").count() == 1  # the two that overlap, and not the third
    page.click(".card >> nth=0")
    page.wait_for_selector("#detail .overlay")
    frame = page.locator("#detail .frame").bounding_box()
    page.mouse.move(frame["x"] + frame["width"] * 7 / 160, frame["y"] + frame["height"] * 7 / 120)
    watched.wait("document.querySelectorAll('#detail .edge.faint').length === 2")
    assert page.evaluate("getComputedStyle(document.querySelector('#detail .both')).display") == "none"
    assert "far" in page.inner_text("#readout")
    page.hover("#detail code")
    watched.wait("document.querySelectorAll('#detail .edge.faint').length === 0")
    fill = page.get_attribute("#detail .edge", "fill-opacity")
    assert 0 < float(fill) < 0.25  # the picture's own colours stay


def test_no_target_is_said_in_words(watched: Watched) -> None:
    assert watched.page.inner_text(".card >> nth=1").count("no target") == 1
    assert "no target" not in watched.page.inner_text(".card >> nth=0")


@pytest.mark.parametrize("served", [False, True])
def test_statistics_follow_the_filters(served: bool, chromium: Any, folder: Path, gallery: Path) -> None:
    running = Served([folder]) if served else None
    watched = Watched(chromium, running.address if running else gallery.as_uri())
    page = watched.page
    tiles = "[...document.querySelectorAll('.tile strong')].map((node) => node.textContent).join()"
    assert page.evaluate(tiles).startswith("9,11,")
    page.fill("#search", "them")
    watched.wait("document.querySelector('#of').textContent === ' of 1 record'")
    found = page.evaluate(tiles).split(",")
    assert found[:4] == ["1", "3", "3", "0.0%"]
    assert page.evaluate(COUNTED) == 3 + 1 + 3 + 3 + 3 + 3  # texts, picture, dialogues; areas, patches, IoU
    page.fill("#search", "")
    watched.wait("document.querySelector('#of').textContent === ''")
    assert page.evaluate(tiles).startswith("9,11,")
    watched.close()
    if running:
        running.close()


@pytest.mark.parametrize("width", [400, 1400])
def test_all_is_large_enough_to_hit_and_to_read(width: int, chromium: Any, gallery: Path) -> None:
    watched = Watched(chromium, gallery.as_uri(), viewport={"width": width, "height": 800})
    page = watched.page
    if width == 400:
        assert page.locator(".card >> nth=0").bounding_box()["y"] < 500  # results on the first screen
        page.click("#stats summary")
    assert page.evaluate(SMALL, "body") == []
    sizes = "[...document.querySelectorAll('.ends span')].map((node) => parseFloat(getComputedStyle(node).fontSize))"
    assert len(page.evaluate(sizes)) >= 6 and min(page.evaluate(sizes)) >= 11
    page.click(".card >> nth=0")
    page.wait_for_selector("#detail .overlay")
    assert page.evaluate(SMALL, "#detail") == []
    watched.close()


def test_what_is_far_away_is_emptied_and_comes_back(chromium: Any, tmp_path: Path) -> None:
    made = [Scene(f"r{i:03}", 40, 30).target("a", (5, 5, 30, 20)).says(f"it {i}", [0]).made() for i in range(190)]
    write_gallery([write_set(tmp_path, made)], tmp_path / "gallery.html")
    watched = Watched(chromium, (tmp_path / "gallery.html").as_uri(), viewport={"width": 400, "height": 800})
    page = watched.page
    for pages in (2, 3, 4):
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        watched.wait(f"document.querySelectorAll('.page').length === {pages}")
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    watched.wait("!document.querySelector('.page').firstChild")
    assert page.locator(".page").first.bounding_box()["height"] > 4000
    assert page.locator(".card").last.get_attribute("aria-label") == "r189"
    page.evaluate("window.scrollTo(0, 0)")
    watched.wait("document.querySelector('.page').querySelector('.overlay')")
    assert page.locator(".card").first.get_attribute("aria-label") == "r000"
    watched.close()
