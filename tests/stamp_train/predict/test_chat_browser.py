"""The page in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stamp_data import rle
from stamp_schemas import StampError
from stamp_train.predict import Segmenter

from ...browsing import Watched as WatchedPage
from .chatting import Served, scene, tiny_segmenter

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=\"window.hacked=1\"><script>window.hacked=1</script> & 'the circle'"


class Watched(WatchedPage):
    """A page of a conversation."""

    def __init__(self, browser: Any, served: Served, **options: Any) -> None:
        self.served = served
        super().__init__(browser, served.address, **options)

    def ask(self, text: str) -> None:
        """Ask, and wait until the answer is there."""
        rounds = self.count("article")
        self.page.fill("#question", text)
        self.page.press("#question", "Enter")
        self.wait(f"document.querySelectorAll('article .note').length === {rounds + 1}")

    def outlined(self) -> int:
        return self.count("#overlay .edge")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    running = Served(max_new_tokens=1)  # a forced mask, and the one that this model says after it
    yield running
    running.close()


@pytest.fixture
def watched(chromium: Any, served: Served) -> Iterator[Watched]:
    watched = Watched(chromium, served)
    yield watched
    watched.close()


def test_rounds_with_masks(watched: Watched) -> None:
    page = watched.page
    watched.wait("document.querySelector('#picture').naturalWidth === 112")
    page.click(".example >> nth=0")
    assert page.input_value("#question") == "What is in this picture?"
    watched.ask("What is it?")
    assert page.inner_text("article .user .bubble") == "What is it?"
    assert "no mask" in page.inner_text("article .note")
    page.click("#force")
    watched.ask("the circle")
    assert watched.count("article") == 2
    assert watched.count("button.chip") == watched.outlined() == 2
    chips = page.locator("button.chip")
    fills = page.evaluate("[...document.querySelectorAll('#overlay .edge')].map((path) => path.getAttribute('fill'))")
    assert len(set(fills)) == 2
    chips.nth(0).click()
    assert watched.outlined() == 1
    assert chips.nth(0).get_attribute("aria-pressed") == "false"
    page.fill("#opacity", "80")
    assert page.get_attribute("#overlay .edge", "fill-opacity") == "0.8"
    watched.ask("the square")  # its masks are shown, the older ones no longer
    assert watched.count("button.chip") == 4
    assert watched.outlined() == 2
    chips.nth(0).click()
    assert watched.outlined() == 3
    page.click("#masks")
    assert watched.outlined() == 0
    page.click("#masks")
    assert watched.outlined() == 3
    page.keyboard.press("Escape")
    page.keyboard.press("4")
    assert watched.outlined() == 2
    page.click("#undo")
    watched.wait("document.querySelectorAll('article').length === 2")
    assert watched.outlined() == 1  # of those that are left, what was shown
    assert chips.nth(0).get_attribute("aria-pressed") == "true"
    assert [text.split()[1] for text in chips.all_inner_texts()] == ["1", "2"]


def test_undo_gives_the_question_back(watched: Watched) -> None:
    assert watched.page.is_disabled("#undo")
    watched.ask("one")
    watched.ask("two")
    watched.page.click("#undo")
    watched.wait("document.querySelectorAll('article').length === 1")
    assert watched.page.input_value("#question") == "two"


def test_keys(watched: Watched) -> None:
    page = watched.page
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("more? 1")
    assert page.input_value("#question") == "one\nmore? 1"
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    assert page.get_attribute("#force", "aria-pressed") == "true"
    page.keyboard.press("/")
    page.keyboard.press("Enter")
    watched.wait("document.querySelectorAll('button.chip').length === 2")
    page.keyboard.press("Escape")
    page.keyboard.press("2")
    assert watched.outlined() == 1
    page.keyboard.press("9")
    page.keyboard.press("a")
    assert watched.outlined() == 0
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.keyboard.press("?")
    page.wait_for_selector("#keys[open]")
    page.keyboard.press("?")
    watched.wait("!document.querySelector('#keys').open")
    page.keyboard.press("z")
    watched.wait("document.querySelectorAll('article').length === 0")


def test_text_and_names_are_only_text(watched: Watched, tmp_path: Path) -> None:
    path = tmp_path / "<img src=x onerror=window.hacked=1>.png"
    scene(84, 84).save(path)
    watched.page.set_input_files("#file", path)
    watched.wait("document.querySelector('#picture').naturalWidth === 84")
    assert "<img src=x" in watched.page.inner_text("#facts")
    watched.ask(HOSTILE)
    assert watched.page.inner_text("article .user .bubble") == HOSTILE
    assert watched.page.evaluate("window.hacked") is None
    assert watched.count("#frame img") == 1 and watched.count(".bubble img, .brand img, #facts img") == 0


def test_saving_downloads_the_conversation(watched: Watched) -> None:
    watched.page.click("#force")
    watched.ask("the circle")
    with watched.page.expect_download() as download:
        watched.page.click("#save")
    saved = json.loads(Path(download.value.path()).read_bytes())
    assert saved["image"]["name"] == "scene.png"
    assert saved["rounds"][0]["masks"][0]["size"] == [84, 112]


def test_another_picture_or_none(watched: Watched, tmp_path: Path) -> None:
    watched.ask("one")
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    watched.page.set_input_files("#file", bad)
    watched.wait("document.querySelector('#toast').textContent.includes('not a JPEG')")
    assert watched.count("article") == 1
    scene(168, 84).save(tmp_path / "wide.png")
    watched.page.set_input_files("#file", tmp_path / "wide.png")
    watched.wait("document.querySelector('#picture').naturalWidth === 168")
    assert watched.count("article") == 0
    assert watched.page.inner_text("#facts") == "wide.png · 168×84"
    assert any("422" in complaint for complaint in watched.complaints)
    watched.complaints.clear()  # the browser itself reports what the server refused


def test_pages_have_conversations_of_their_own_and_keep_them(chromium: Any, served: Served) -> None:
    pages = [Watched(chromium, served) for _ in range(2)]
    for name, watched in zip(("one", "two"), pages, strict=True):
        watched.ask(name)
    for name, watched in zip(("one", "two"), pages, strict=True):
        watched.page.reload()
        watched.page.wait_for_selector("body[data-ready]")
        assert watched.page.locator("article .user .bubble").all_inner_texts() == [name]
        watched.close()


@pytest.mark.parametrize("by", ["button", "key"])
def test_an_answer_is_streamed_and_can_be_stopped(by: str, chromium: Any) -> None:
    served = Served(max_new_tokens=4000)
    watched = Watched(chromium, served)
    try:
        page = watched.page
        page.fill("#question", "one")
        page.press("#question", "Enter")
        watched.wait("(document.querySelector('.going .bubble')?.textContent.length ?? 0) > 3")
        assert page.inner_text("#go") == "Stop"
        assert page.is_disabled("#undo")
        if by == "button":
            page.click("#go")
        else:
            page.keyboard.press("Escape")
        watched.wait("document.querySelector('article .note')?.textContent === 'stopped'")
        assert page.inner_text("#go") == "Send"
        assert watched.count(".going") == 0
    finally:
        watched.close()
        served.close()


def _fulfill(body: str, route: Any) -> None:
    route.fulfill(body=body)


def test_an_answer_that_came_to_nothing_leaves_the_page_as_it_was(watched: Watched) -> None:
    """Stopped before the first word of a conversation, or ended by a fault after a mask was drawn."""
    page = watched.page
    chat = page.evaluate("sessionStorage.getItem('chat')")
    state = page.request.get(f"{watched.served.address}api/state?chat={chat}").json()
    mask = {"number": 1, "path": "M0 0l9 0l0 9z", "colour": "#d55e00", "area": 0.1}
    stopped = [{"kind": "state", "state": state}]
    broken = [{"kind": "seg"}, {"kind": "mask", "mask": mask}, {"kind": "fault", "text": "too long"}]
    for said in (stopped, broken):
        body = "".join(f"{json.dumps(line)}\n" for line in said)
        page.route("**/api/say?*", partial(_fulfill, body))
        page.fill("#question", "one")
        page.press("#question", "Enter")
        watched.wait("document.querySelector('#question').value === 'one'")
        assert page.inner_text("#go") == "Send"
        assert watched.count("article") == watched.outlined() == 0
        page.unroute("**/api/say?*")
    watched.ask("one")


@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_lies_over_anything_or_is_cut_off(width: int, chromium: Any) -> None:
    """With several checkpoints to choose from, and a composer of one line."""
    served = Served(others={"other": lambda: None}, max_new_tokens=1)
    watched = Watched(chromium, served, viewport={"width": width, "height": 800})
    box = {name: watched.page.locator(name).bounding_box() for name in ("h1", "#models", "#open", "#force", "#go")}
    for name in ("h1", "#models"):
        apart = box[name]["x"] + box[name]["width"] <= box["#open"]["x"]
        assert apart or box[name]["y"] + box[name]["height"] <= box["#open"]["y"]
    assert watched.page.evaluate(
        "(({scrollWidth, clientWidth}) => scrollWidth <= clientWidth)(document.querySelector('h1'))"
    )
    middle = [box[name]["y"] + box[name]["height"] / 2 for name in ("#force", "#go")]
    assert middle[0] == pytest.approx(middle[1], abs=1)
    watched.close()
    served.close()


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (390, "light"), (900, "dark"), (1900, "light")])
def test_no_width_scrolls_sideways(width: int, scheme: str, chromium: Any, served: Served) -> None:
    watched = Watched(chromium, served, viewport={"width": width, "height": 760}, color_scheme=scheme)
    watched.page.click("#force")
    watched.ask("averyveryverylongwordwithoutanyspaces" * 8)
    assert watched.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert watched.page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    frame, question = (watched.page.locator(name).bounding_box() for name in ("#frame", "#question"))
    assert abs(frame["width"] / frame["height"] - 112 / 84) < 0.02
    assert frame["width"] > 150
    assert question["y"] + question["height"] <= 760
    watched.close()


def test_the_picture_is_zoomed_and_a_mask_under_the_pointer_stands_alone(watched: Watched) -> None:
    page = watched.page
    page.click("#force")
    watched.ask("the circle")
    assert 0 < float(page.get_attribute("#overlay .edge", "fill-opacity")) < 0.25
    page.hover("button.chip >> nth=0")
    watched.wait("document.querySelectorAll('#overlay .edge.faint').length === 1")
    page.hover("#facts")
    width = page.locator("#frame").bounding_box()["width"]
    page.keyboard.press("Escape")
    watched.keys("=")
    assert page.locator("#frame").bounding_box()["width"] == pytest.approx(1.25 * width, abs=0.05)
    page.hover("#canvas")
    page.mouse.wheel(0, -900)
    assert watched.count("#frame.pixels") == 1
    watched.keys("v")
    assert page.locator("#frame").bounding_box()["width"] == pytest.approx(width, abs=0.05)


def test_a_server_that_does_not_answer_is_said(watched: Watched) -> None:
    watched.page.context.set_offline(True)
    watched.page.fill("#question", "one")
    watched.page.click("#go")
    watched.wait("document.querySelector('#toast').textContent.includes('still running')")
    assert watched.page.input_value("#question") == "one"
    watched.page.context.set_offline(False)
    watched.ask("one")
    assert all("ERR_INTERNET_DISCONNECTED" in complaint for complaint in watched.complaints)
    watched.complaints.clear()  # the browser's own


def test_an_answer_is_made_again_with_another_seed(watched: Watched) -> None:
    page, sent = watched.page, []
    page.on("request", lambda request: sent.append(request.post_data_json) if "api/say" in request.url else None)
    watched.ask("one")
    watched.ask("two")
    for heat in ("0", "1.5", "1.5"):
        page.fill("#heat", heat)
        page.evaluate("() => { const again = document.querySelector('#again'); again.click(); again.click(); }")
        watched.wait(
            "!document.body.hasAttribute('data-answering') && document.querySelectorAll('article .note').length === 2"
        )
        assert page.inner_text("article:last-of-type .user .bubble") == "two"
    assert [(one["text"], one["temperature"], one.get("seed")) for one in sent] == [
        ("one", 0, None),
        ("two", 0, None),
        ("two", 0, 1),
        ("two", 1.5, 2),
        ("two", 1.5, 3),
    ]


def test_masks_are_copied_and_downloaded(watched: Watched, served: Served) -> None:
    page = watched.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("#force")
    watched.ask("the circle")
    with page.expect_download() as download:
        page.click(".mask-tools a >> nth=1")
    found = np.asarray(Image.open(download.value.path()))
    chat = page.evaluate("sessionStorage.getItem('chat')")
    saved = served.json(f"api/save?chat={chat}")["rounds"][0]["masks"]
    assert np.array_equal(found, rle.decode(rle.RLE((84, 112), saved[1]["counts"])).astype(bool))
    page.click(".mask-tools button >> nth=0")
    watched.wait("document.querySelector('#toast').textContent === 'Copied mask 1'")
    kinds = page.evaluate("navigator.clipboard.read().then((items) => items.map((item) => item.types.join()))")
    assert kinds == ["image/png"]


def test_several_pictures_and_back_again(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    watched.ask("one")
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for side, path in zip((84, 168), paths, strict=True):
        scene(side, 84).save(path)
    page.set_input_files("#file", paths)
    watched.wait("document.querySelector('#picture').naturalWidth === 168")
    assert watched.count(".thumb") == 3 and watched.count("article") == 0
    page.click(".thumb >> nth=0")
    watched.wait("document.querySelector('#picture').naturalWidth === 112")
    assert page.inner_text("article .user .bubble") == "one"
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert watched.count(".thumb") == 3


def test_a_point_is_asked_about(watched: Watched) -> None:
    page = watched.page
    watched.wait("document.querySelector('#picture').naturalWidth === 112")
    watched.keys("Escape", "w")
    frame = page.locator("#frame").bounding_box()
    page.mouse.click(frame["x"] + frame["width"] * 30 / 112, frame["y"] + frame["height"] * 40 / 84)
    watched.wait("document.querySelectorAll('article .note').length === 1")
    assert page.inner_text("article .user .bubble") == "What is this?"
    told = page.inner_text("#facts")
    assert told.startswith("scene.png at ") and told.endswith("34×34")
    assert watched.count(".thumb") == 2


def test_another_model_answers_about_the_same_picture(chromium: Any) -> None:
    opened: list[str] = []

    def open_other() -> Segmenter:
        opened.append("other")
        return tiny_segmenter()

    def broken() -> Segmenter:
        raise StampError("broken: no checkpoint")

    served = Served(others={"other": open_other, "broken": broken}, max_new_tokens=1)
    watched = Watched(chromium, served)
    page = watched.page
    assert opened == []
    page.select_option("#models", "other")
    watched.wait("document.querySelectorAll('.thumb').length === 2")
    assert opened == ["other"] and page.input_value("#models") == "other"
    watched.ask("one")
    page.select_option("#models", "broken")
    watched.wait("document.querySelector('#toast').textContent.includes('no checkpoint')")
    assert page.input_value("#models") == "other" and watched.count("article") == 1
    watched.complaints.clear()  # the browser notes the 422
    watched.close()
    served.close()
