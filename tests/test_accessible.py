"""Every page before axe-core, as a phone and as a desk shows it, light and dark: nothing serious, small or tiny."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from .browsing import SMALL, Running
from .stamp_data.annotate.making import put_images
from .stamp_data.annotate.serving import Served as Annotating
from .stamp_data.inspect.scenes import HOSTILE, Scene, chat, write_set
from .stamp_data.inspect.test_server import Served as Gallery

pytestmark = pytest.mark.browser
AXE = Path(__file__).resolve().parents[1] / ".axe" / "node_modules" / "axe-core" / "axe.min.js"
SIZES = [(400, "light"), (400, "dark"), (1400, "light"), (1400, "dark")]
GRAVE = ("serious", "critical")
TINY = """[...document.querySelectorAll("body *")].filter((node) => node.checkVisibility())
  .filter((node) => !node.closest(".skip, .offscreen") && [...node.childNodes].some(({data}) => data?.trim()))
  .filter((node) => parseFloat(getComputedStyle(node).fontSize) < 11).map((node) => node.outerHTML.slice(0, 90))"""
Act = Callable[[Any], None]


@pytest.fixture(scope="module")
def axe() -> Path:
    if not AXE.is_file():
        pytest.skip("no axe-core: `make axe` installs it, where there is npm and a network")
    return AXE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    first = Scene("first").target("one", (20, 20, 90, 90)).target("two", (60, 60, 140, 110)).target("none", None)
    first.says("both", [0, 1]).says("the unicorn", [2]).says(HOSTILE, [0], passes=2)
    broken = Scene("broken").target("a", (5, 5, 50, 50)).says("it", [0]).made()
    broken.image = b"no picture"
    more = [Scene(f"r{i}", seed=i).target("a", (1, 1, 2, 2)).says(f"it {i}", [0]).made() for i in range(4)]
    return write_set(tmp_path_factory.mktemp("seen"), [first.made(), broken, chat("talk", "Hello", "Hi"), *more])


def faults(browser: Any, axe: Path, address: str, *acts: Act) -> list[str]:
    """What axe-core calls grave of a page at each size, as it begins and after each act; what is hard to hit or read."""
    found: dict[str, None] = {}
    for width, scheme in SIZES:
        context = browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True, reduced_motion="reduce"
        )
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        page.add_script_tag(path=axe)
        for act in (lambda _: None, *acts):
            act(page)
            page.wait_for_timeout(50)
            for one in page.evaluate(SMALL, "dialog[open]" if page.locator("dialog[open]").count() else "body"):
                found[f"{width}: hard to hit: {one}"] = None
            for one in page.evaluate(TINY):
                found[f"{width}: hard to read: {one}"] = None
            for one in page.evaluate("axe.run({resultTypes: ['violations']}).then((done) => done.violations)"):
                for node in one["nodes"] if one["impact"] in GRAVE else ():
                    summary = node["failureSummary"].splitlines()[1:2]
                    found[f"{width} {scheme}: {one['id']}: {node['html'][:100]} {summary}"] = None
        context.close()
    return list(found)


def click(selector: str) -> Act:
    return lambda page: page.locator(selector).first.click()


def press(key: str) -> Act:
    return lambda page: page.keyboard.press(key)


def test_faults_are_found(chromium: Any, axe: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<body data-ready><button></button><p style='color:#ccc;background:#fff'>pale")
    found = faults(chromium, axe, (tmp_path / "page.html").as_uri())
    assert {"button-name", "color-contrast"} <= {one.split(": ")[1] for one in found}


def test_the_gallery(chromium: Any, axe: Path, folder: Path) -> None:
    served = Gallery([folder])
    patches, expression = press("g"), click("#detail .head")
    acts = (
        lambda page: page.locator("#stats").evaluate("node => node.open = true"),
        click(".card"),
        expression,
        patches,
    )
    assert faults(chromium, axe, served.address, *acts, press("?")) == []
    served.close()


def test_annotate(chromium: Any, axe: Path, tmp_path: Path) -> None:
    served = Annotating(put_images(tmp_path / "photos", "a.png", "b.png", size=(160, 120)))

    def say(page: Any) -> None:
        page.fill("#new-phrase", "the red cup")
        page.press("#new-phrase", "Enter")
        page.wait_for_timeout(500)

    assert (
        faults(chromium, axe, served.address, say, press("g"), press("Escape"), press("0"), press("1"), press("?"))
        == []
    )
    served.close()


@pytest.fixture(scope="module")
def talking() -> Iterator[Running]:
    pytest.importorskip("torch")
    from .stamp_train.predict.chatting import Served

    running = Served(max_new_tokens=1)
    yield running
    running.close()


def test_chat(chromium: Any, axe: Path, talking: Running) -> None:
    def ask(page: Any) -> None:
        page.click("#force")
        page.fill("#question", "the circle")
        page.press("#question", "Enter")
        page.wait_for_selector("article .note", state="attached")

    assert faults(chromium, axe, talking.address, ask, press("Escape"), press("?")) == []


def test_the_page_of_an_evaluation(chromium: Any, axe: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from stamp_train.eval.page import read_against, write_page
    from stamp_train.eval.session import Session

    from .stamp_train.eval.test_session import labels_of
    from .stamp_train.runs import make_shards

    session = Session(labels_of(make_shards(tmp_path / "shards"), tmp_path / "out"))
    session.work(lambda *_: None)
    session.results()
    write_page(tmp_path / "out", *session.results(), session.sets, "stamp", against=read_against(tmp_path / "out"))

    def paste(page: Any) -> None:
        for name in ("gallery", "annotate"):
            page.fill(f"#large input[aria-label='Address of {name}']", "http://127.0.0.1:1/token/")

    acts = (click(".case"), paste, press("j"), press("Escape"), press("?"))
    assert faults(chromium, axe, (tmp_path / "out/page.html").as_uri(), *acts) == []


def test_the_page_of_a_comparison(chromium: Any, axe: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from stamp_train.compare.curves import curves
    from stamp_train.compare.page import page
    from stamp_train.compare.scenes import Scene as Shown

    from .stamp_train.compare.made import SET, comparison, row

    picture = io.BytesIO()
    Image.new("RGB", (200, 60), (90, 120, 90)).save(picture, "JPEG")
    found = comparison(row("stamp"), row("boxes", failed={1: "no memory"}))
    shown = [Shown(SET, "a/0", "the cup", {"stamp": 0.5, "boxes": 0.25}, picture.getvalue())]
    (tmp_path / "page.html").write_text(page(found, curves(found), shown), encoding="utf-8")
    assert (
        faults(chromium, axe, (tmp_path / "page.html").as_uri(), click(".scene button"), press("Escape"), press("?"))
        == []
    )
