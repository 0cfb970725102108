"""The page in a real browser: from disk without a network, and from the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stamp_data.inspect.gallery import write_gallery
from stamp_data.inspect.selection import Selection

from ...browsing import Watched as WatchedPage
from .scenes import HOSTILE
from .test_server import Served

pytestmark = pytest.mark.browser


class Watched(WatchedPage):
    """A gallery."""

    def cards(self) -> int:
        return int(self.page.locator(".card").count())

    def wait_cards(self, count: int) -> None:
        self.wait(f"document.querySelectorAll('.card').length === {count}")

    @property
    def hash(self) -> str:
        return str(self.page.evaluate("location.hash"))


@pytest.fixture(scope="module")
def gallery(zoo_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("browser") / "gallery.html"
    write_gallery([zoo_set], out, Selection(budget=2000))
    return out


@pytest.fixture
def watched(chromium: Any, gallery: Path) -> Iterator[Watched]:
    watched = Watched(chromium, gallery.as_uri())
    yield watched
    watched.close()


def test_it_opens_and_shows_statistics_and_records(watched: Watched) -> None:
    page = watched.page
    assert page.inner_text("#count") == "15 records"
    assert watched.cards() == 15
    assert page.locator(".chart").count() == 6
    assert page.locator(".tile").count() == 7
    assert page.locator(".flag-row").count() >= 4
    assert page.get_attribute(".card img", "alt") == "the dog number 0; both animals; the dog and the cat; the unicorn"
    assert page.evaluate("[...document.images].slice(0, 4).every((image) => image.decode && image.naturalWidth > 0)")


def test_hostile_text_is_only_text(watched: Watched) -> None:
    page = watched.page
    page.fill("#search", "onerror")
    watched.wait_cards(1)
    assert HOSTILE.split("\u2028")[0].strip() in page.inner_text(".card .lines")
    page.click(".card")
    assert "<img src=x" in page.inner_text("#detail .expression")
    assert page.evaluate("window.hacked") is None
    assert page.locator("#detail img").count() == 1
    page.keyboard.press("Escape")
    watched.open("#q=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&key=%3Cb%3E&view=%22&opacity=zz&sort=x")
    watched.wait("!location.hash.includes('key')")
    assert page.evaluate("window.hacked") is None


def test_filters_narrow_and_the_hash_keeps_them(watched: Watched) -> None:
    page = watched.page
    page.select_option("#filter-kind", "no_target")
    watched.wait_cards(10)
    assert page.inner_text("#count") == "10 of 15 records"
    page.fill("#search", "number 4")
    watched.wait_cards(1)
    assert "kind=no_target" in watched.hash
    watched.open(watched.hash)
    assert watched.cards() == 1
    assert page.input_value("#search") == "number 4"
    page.click("#reset")
    watched.wait_cards(15)
    assert watched.hash in ("", "#")
    page.select_option("#filter-split", "val")
    watched.wait_cards(2)
    page.select_option("#filter-source", "tiny")
    page.select_option("#filter-flag", "STP-W006")
    watched.wait_cards(1)
    page.fill("#search", "nothing like this")
    page.wait_for_selector("#empty:visible")
    page.click("#reset")
    page.click(".flag-row:has-text('W005')")
    watched.wait_cards(1)


def test_sorts(watched: Watched) -> None:
    page = watched.page
    first = "document.querySelector('.card').getAttribute('aria-label')"
    page.select_option("#filter-sort", "-area")
    watched.wait(f"{first} === 'v01'")
    page.select_option("#filter-sort", "iou")
    watched.wait(f"{first} === 'tiny-thing'")
    page.select_option("#filter-sort", "area")
    watched.wait(f"{first} === 'r00'")


def test_keys(watched: Watched) -> None:
    page = watched.page
    focused = "document.activeElement.getAttribute('aria-label')"
    page.keyboard.press("j")
    page.keyboard.press("j")
    watched.wait(f"{focused} === 'r01'")
    page.keyboard.press("k")
    watched.wait(f"{focused} === 'r00'")
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail[open]")
    page.keyboard.press("j")
    watched.wait("document.querySelector('#detail code').textContent === 'r01'")
    page.keyboard.press("Escape")
    watched.wait("!document.querySelector('#detail').open")
    page.keyboard.press("f")
    watched.wait("document.querySelector('#filter-flagged').getAttribute('aria-pressed') === 'true'")
    page.keyboard.press("f")
    page.keyboard.press("/")
    page.keyboard.type("jmg")
    assert page.input_value("#search") == "jmg"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.wait_for_selector("#keys[open]")
    assert page.locator("#keys dt").count() >= 12
    page.keyboard.press("?")
    watched.wait("!document.querySelector('#keys').open")
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"


@pytest.mark.parametrize(
    ("key", "mode"), [("m", "mask"), ("o", "outline"), ("u", "cutout"), ("g", "grid"), ("d", "diff")]
)
def test_overlays(key: str, mode: str, watched: Watched) -> None:
    page = watched.page
    page.keyboard.press("n")
    assert page.locator(".overlay").count() == 0
    page.keyboard.press(key)
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")  # what is far away is drawn when it comes near
    watched.wait(f"document.querySelectorAll('.overlay.{mode}').length === 14")
    page.click(".card >> nth=0")
    page.wait_for_selector(f"#detail .overlay.{mode}")
    assert page.get_attribute(f"#detail [data-mode={mode}]", "aria-checked") == "true"
    if mode == "diff":
        page.click("#detail .head >> nth=0")
        watched.wait("document.querySelector('#readout').textContent.includes('IoU 0.')")
        assert page.is_visible("#detail .legend")
    if mode == "grid":
        box = page.locator("#detail .frame").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + box["height"] * 0.5)
        watched.wait("document.querySelector('#readout').textContent.startsWith('Patch ')")
        assert "100%" in page.inner_text("#readout")


def test_an_expression_shows_its_masks_alone(watched: Watched) -> None:
    page = watched.page
    marks = ".card:first-child .overlay [data-target]"
    assert page.locator(marks).count() == 3
    page.hover(".card:first-child .lines li >> nth=0")
    assert page.locator(marks).count() == 1
    page.click(".card:first-child .lines li >> nth=2")
    page.wait_for_selector("#detail .expression.selected")
    assert page.locator("#detail .overlay [data-target]").count() == 2
    assert page.locator("#detail .selected mark.seg").count() == 2
    assert "d=2-p0" in watched.hash
    page.click("#detail .head >> nth=3")
    watched.wait("document.querySelector('#readout').textContent === 'No target'")
    page.hover("#detail .head >> nth=1")
    assert page.locator("#detail .overlay [data-target]").count() == 1
    watched.open(watched.hash)
    page.wait_for_selector("#detail[open] .expression.selected")


def test_opacity_and_copy(watched: Watched) -> None:
    page = watched.page
    page.click(".card >> nth=1")
    page.fill("#detail input[type=range]", "80")
    watched.wait("document.querySelector('#detail .overlay .edge').getAttribute('fill-opacity') === '0.8'")
    assert "opacity=80" in watched.hash
    page.click("#copy")
    watched.wait("document.querySelector('#toast').textContent === 'Copied r01'")


def test_conversations_have_turns_and_no_overlay(watched: Watched) -> None:
    page = watched.page
    page.select_option("#filter-kind", "chat")
    watched.wait_cards(1)
    page.click(".card")
    assert page.locator("#detail .turn").count() == 4
    assert page.locator("#detail .overlay").count() == 0
    assert page.locator("#detail [data-mode]").count() == 0


@pytest.mark.parametrize("width", [360, 800, 1900])
def test_no_width_scrolls_sideways(width: int, chromium: Any, gallery: Path) -> None:
    watched = Watched(chromium, gallery.as_uri(), color_scheme="dark")
    watched.page.set_viewport_size({"width": width, "height": 800})
    assert watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    watched.page.click(".card >> nth=0")
    box = watched.page.locator("#detail .frame").bounding_box()
    assert box["width"] > 150
    assert abs(box["width"] / box["height"] - 160 / 120) < 0.05
    watched.close()


def test_the_server_pages_and_filters(chromium: Any, zoo_set: Path) -> None:
    served = Served([zoo_set])
    watched = Watched(chromium, served.address)
    try:
        page = watched.page
        watched.wait_cards(15)
        watched.wait("document.querySelector('.card img').naturalWidth === 160")
        page.fill("#search", "number 7")
        watched.wait_cards(1)
        page.click(".card")
        page.wait_for_selector("#detail .overlay.mask")
        watched.open("#set=tiny/val&key=v01")
        page.wait_for_selector("#detail[open]")
        assert page.inner_text("#detail code") == "v01"
    finally:
        watched.close()
        served.close()


def test_the_server_is_paged_while_it_reads(chromium: Any, zoo_set: Path) -> None:
    served = Served([zoo_set])
    catalogue = served.gallery.index
    everything = catalogue._entries
    catalogue._entries, catalogue.done, catalogue.scanned = everything[:4], False, 4
    watched = Watched(chromium, served.address)
    try:
        watched.wait_cards(4)
        assert "reading 4 of 15" in watched.page.inner_text("#count")
        catalogue._entries, catalogue.done = everything, True
        watched.wait_cards(15)
        assert watched.page.inner_text("#count") == "15 records"
    finally:
        watched.close()
        served.close()
