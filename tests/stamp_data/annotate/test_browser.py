"""The page in a real browser."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stamp_data import rle
from stamp_data.annotate.store import load_document
from stamp_schemas.annotated import AnnotatedImage

from .making import put_images
from .serving import Served, Watched

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=\"window.hacked=1\"><script>window.hacked=1</script> & 'the cup'"
SIZE = (160, 120)
OVERLAPS = """(group) => {
  const buttons = [...document.querySelectorAll(`#group-${group} .action`)];
  return buttons.filter((one, i) => {
    const { right } = one.getBoundingClientRect(), next = buttons[i + 1]?.getBoundingClientRect();
    return one.scrollWidth > one.offsetWidth || (next && next.left < right);
  }).map((one) => one.id);
}"""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    running = Served(put_images(tmp_path / "photos", "a.png", "b.png", "c.png", size=SIZE))
    yield running
    running.close()


def pixels(document: AnnotatedImage, place: int = 0) -> Any:
    return rle.decode(document.masks[place].rle).astype(bool)


def boxed(left: int, top: int, right: int, bottom: int) -> Any:
    """Pixels [left, right) × [top, bottom)."""
    mask = np.zeros(SIZE[::-1], bool)
    mask[top:bottom, left:right] = True
    return mask


def test_a_whole_session_by_keyboard_alone(watched: Watched, served: Served) -> None:
    watched.page.keyboard.press("n")
    watched.page.keyboard.type("the red cup? No: 1 blue box")  # what is written is no command
    watched.keys("Enter", "r")
    watched.page.evaluate("annotate.stage.cursor = {x: 20.5, y: 30.5}")
    watched.keys("Space", *["Alt+ArrowRight"] * 9, *["Alt+ArrowDown"] * 4, "Space")
    watched.saved()
    assert np.array_equal(pixels(served.document()), boxed(20, 30, 30, 35))
    watched.keys("e", *["["] * 9, "Space", "Alt+ArrowUp", "Space", "Enter")
    watched.saved()
    document = served.document()
    assert pixels(document).sum() == 50 - 2 and document.phrases[0].status == "accepted"
    watched.say("a cow")
    watched.keys("0", "2", "Enter")
    watched.saved()
    assert served.document().phrases[1].nothing == "wrong attribute"
    watched.say("both of them")
    watched.keys("1", "w", "k", "t")
    watched.page.keyboard.type("no cow at all")
    watched.keys("Enter", "Enter")
    watched.saved()
    phrases = served.document().phrases
    assert [(phrase.text, phrase.status, phrase.masks) for phrase in phrases] == [
        ("the red cup? No: 1 blue box", "accepted", ["m1"]),
        ("no cow at all", "accepted", []),
        ("both of them", "needs work", ["m1"]),
    ]
    watched.keys("z", "z", "z", "y")
    watched.page.evaluate("annotate.session.sending")
    assert served.document().phrases[1].text == "a cow"
    watched.keys("d")
    watched.wait("document.querySelector('#name').textContent === 'b.png'")
    watched.keys("u")
    watched.wait("document.querySelector('#name').textContent === 'c.png'")
    watched.keys("g")
    assert watched.page.locator("#rows button").count() == 3
    watched.keys("Escape", "?")
    assert watched.page.locator("#keys dt").count() > 35
    watched.keys("Escape")


def test_every_key_is_a_button_with_words(watched: Watched) -> None:
    buttons = watched.page.evaluate(
        "[...document.querySelectorAll('[id^=do-]')].map((one) => [one.id, one.innerText.trim(), one.title])"
    )
    commands = watched.page.evaluate(
        "import('./commands.js').then(({COMMANDS}) => COMMANDS.map(([key, words]) => [key, words]))"
    )
    assert len(buttons) == len(commands) == len({key for key, _ in commands}) == len({one[0] for one in buttons})
    assert {title for _, _, title in buttons} == {f"{words} ({key})" for key, words in commands}
    assert all(words for _, words, _ in buttons)


def test_drawing_with_the_mouse(watched: Watched, served: Served) -> None:
    watched.say("it")
    watched.keys("p")
    for corner in ((20, 20), (100, 20), (100, 80), (20, 80)):
        watched.pen(corner)
    watched.pen((20, 20))  # closes it
    watched.saved()
    assert np.array_equal(pixels(served.document()), boxed(20, 20, 100, 80))
    watched.keys("r", "x")
    watched.pen((40.5, 40.5), (59.5, 59.5))  # a hole
    watched.saved()
    holed = boxed(20, 20, 100, 80) & ~boxed(40, 40, 60, 60)
    assert np.array_equal(pixels(served.document()), holed)
    watched.keys("x")
    watched.pen((120.5, 90.5), (129.5, 99.5))  # a second part
    watched.saved()
    assert np.array_equal(pixels(served.document()), holed | boxed(120, 90, 130, 100))
    watched.keys("f")
    watched.pen((50, 50))
    watched.saved()
    assert np.array_equal(pixels(served.document()), boxed(20, 20, 100, 80) | boxed(120, 90, 130, 100))
    watched.keys("x")
    watched.pen((125, 95))  # cuts the part off
    watched.saved()
    assert np.array_equal(pixels(served.document()), boxed(20, 20, 100, 80))
    watched.keys("}", "x", "b")
    watched.saved()
    assert pixels(served.document()).sum() == 80 * 60 + 2 * (80 + 60)
    watched.keys("m")
    watched.pen((30, 100), (60, 100))
    watched.saved()
    document = served.document()
    assert document.phrases[0].masks == ["m1", "m2"]
    assert 30 * 20 < pixels(document, 1).sum() < 52 * 20
    watched.keys(",", "+")
    watched.saved()
    assert pixels(served.document())[100, 45]
    watched.keys("\\")
    watched.saved()
    assert not pixels(served.document())[100, 45]
    watched.keys("Delete")
    watched.saved()
    assert [mask.id for mask in served.document().masks] == ["m2"]


def test_notes_of_the_picture_a_phrase_and_a_mask(watched: Watched, served: Served) -> None:
    watched.say("it")
    watched.keys("r")
    watched.pen((10.5, 10.5), (20.5, 20.5))
    watched.saved()
    for place, text in (("#notes", "dark"), ("#notes-p1", "which one?"), ("#notes-m1", "its rim is unclear")):
        watched.page.fill(place, text)
        watched.keys("Enter")
        watched.saved()
    document = served.document()
    assert (document.notes, document.phrases[0].notes, document.masks[0].notes) == (
        "dark", "which one?", "its rim is unclear",
    )  # fmt: skip
    watched.open()
    assert watched.page.input_value("#notes") == "dark"
    watched.keys("z", "z", "z")
    watched.wait("document.querySelector('#notes').value === ''")
    watched.keys("d")
    watched.wait("document.querySelector('#name').textContent === 'b.png'")
    assert watched.page.input_value("#notes") == ""


def test_notes_and_categories_are_kept_while_they_are_written(watched: Watched, served: Served) -> None:
    watched.say("it")
    watched.keys("r")
    watched.pen((10.5, 10.5), (20.5, 20.5))
    watched.saved()
    for place, text in (
        ("#notes", "dark"),
        ("#notes-p1", "which?"),
        ("#categories-m1", "cup, mug"),
        ("#notes-m1", "rim"),
    ):
        watched.page.focus(place)
        watched.page.keyboard.type(text)
        watched.wait("annotate.timer === 0")  # nobody has left the line
        watched.saved()
    document = served.document()
    assert (document.notes, document.phrases[0].notes, document.masks[0].notes) == ("dark", "which?", "rim")
    assert document.masks[0].categories == ["cup", "mug"]
    watched.page.keyboard.type("s")
    watched.open()  # whatever is not kept yet is, on leaving; the browser asks
    watched.saved()
    assert all("beforeunload" in line for line in watched.complaints)
    watched.complaints.clear()
    assert served.document().masks[0].notes == "rims"
    revision = served.document().revision
    watched.page.focus("#notes")
    watched.keys("Enter")
    watched.page.evaluate("annotate.session.sending")
    assert served.document().revision == revision  # nothing was changed


def test_a_key_that_is_held_accepts_once(watched: Watched, served: Served) -> None:
    for text in ("one", "two", "three"):
        watched.say(text)
        watched.keys("r")
        watched.pen((10.5, 10.5), (20.5, 20.5))
    watched.page.evaluate("annotate.choose('phrase', 'p1')")
    for _ in range(4):
        watched.page.keyboard.down("Enter")
    watched.page.keyboard.up("Enter")
    watched.saved()
    assert [phrase.status for phrase in served.document().phrases] == ["accepted", "new", "new"]
    size = watched.page.evaluate("annotate.tools.size")
    for _ in range(3):
        watched.page.keyboard.down("[")
    watched.page.keyboard.up("[")
    assert watched.page.evaluate("annotate.tools.size") < size / 2  # this may be held


def test_what_is_to_be_ignored_no_phrase_names(watched: Watched, served: Served) -> None:
    watched.say("it")
    watched.keys("r")
    watched.pen((10.5, 10.5), (20.5, 20.5))
    watched.keys("m")
    watched.pen((50.5, 50.5), (60.5, 60.5))
    watched.keys("Enter", "i")
    watched.saved()
    document = served.document()
    assert [(mask.id, mask.role) for mask in document.masks] == [("m1", "target"), ("m2", "ignore")]
    assert (document.phrases[0].masks, document.phrases[0].status) == (["m1"], "new")
    watched.keys("2")
    assert "to be ignored" in watched.page.inner_text("#toast")
    watched.keys(".", ".", "i", "Enter")
    watched.saved()
    document = served.document()
    assert document.masks[1].role == "target" and document.phrases[0].masks == ["m1", "m2"]
    assert document.phrases[0].status == "accepted"


def test_keys_work_after_the_opacity_was_set(watched: Watched) -> None:
    watched.page.focus("#opacity")
    watched.keys("ArrowRight", "=")
    assert watched.page.input_value("#opacity") == "26" and watched.page.evaluate("annotate.stage.cursor") is None
    scale = watched.page.evaluate("annotate.stage.scale")
    watched.keys("=")
    assert watched.page.evaluate("annotate.stage.scale") == pytest.approx(1.25 * scale)


def test_when_every_picture_is_done_it_is_said(watched: Watched) -> None:
    for number in range(3):
        watched.say("a cow")
        watched.keys("0", "1", "Enter")
        watched.saved()
        if number < 2:
            watched.keys("u")
            watched.wait(f"annotate.session.index === {number + 1} && annotate.session.document")
    watched.keys("u")
    assert watched.page.inner_text("#toast") == "Every picture is done."


def test_what_the_server_does_not_understand_is_said(watched: Watched, served: Served) -> None:
    watched.say("it")
    watched.keys("r")
    watched.pen((10.5, 10.5), (20.5, 20.5))
    watched.page.fill("#categories-m1", ",".join(map(str, range(21))))
    watched.keys("Enter")
    watched.wait("document.querySelector('#toast').textContent.includes('length <= 20')")
    watched.saved()
    assert served.document().masks[0].categories == []
    watched.say("what is said next")
    watched.saved()
    assert served.document().phrases[1].text == "what is said next"
    watched.complaints.clear()  # the browser notes the 400


def test_undo_goes_on_after_a_reload(watched: Watched, served: Served) -> None:
    watched.say("it")
    watched.keys("r")
    watched.pen((10.5, 10.5), (20.5, 20.5))
    watched.pen((50.5, 50.5), (60.5, 60.5))
    watched.saved()
    watched.open()
    assert served.document().phrases[0].text == "it"
    watched.keys("z")
    watched.wait("annotate.session.redoable")
    assert pixels(served.document()).sum() == 121
    watched.open()
    watched.keys("y")
    watched.wait("!annotate.session.redoable")
    assert pixels(served.document()).sum() == 242
    watched.page.evaluate("annotate.session.undo(); annotate.add('said before the answer came')")
    watched.saved()
    texts = [phrase.text for phrase in served.document().phrases]
    assert watched.page.evaluate("annotate.session.phrases.map(({ text }) => text)") == texts
    assert texts == ["it", "said before the answer came"]
    for place in ("elsewhere/b.png", "c.png"):  # a link names a picture as its record does
        watched.open(f"#picture={place}")
        watched.wait(f"annotate.session.rows[annotate.session.index].name === '{place[-5:]}'")


def test_who_leaves_while_something_is_not_saved_is_asked(watched: Watched, served: Served) -> None:
    page, held, asked = watched.page, [], []
    page.remove_listener("dialog", watched.on_dialog)
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.route("**/api/edit*", lambda route: held.append(route))  # no bound method: Playwright marks it
    watched.say("it")
    watched.wait("document.querySelector('#state').textContent === 'saving…'")
    page.evaluate("void location.reload()")
    deadline = time.monotonic() + 20
    while not asked and time.monotonic() < deadline:
        page.wait_for_timeout(15)
    assert asked == ["beforeunload"] and watched.page.evaluate("annotate.session.unsent.length") == 1
    held.pop().continue_()
    watched.saved()
    assert served.document().phrases[0].text == "it"
    watched.open()  # nobody is asked, as nothing is open
    assert asked == ["beforeunload"]


def test_who_leaves_a_phrase_that_was_not_added_is_asked(watched: Watched) -> None:
    watched.keys("n")
    watched.page.keyboard.type("half a phra")
    watched.open()
    assert len(watched.complaints) == 1 and "beforeunload" in watched.complaints.pop()
    watched.open()
    assert watched.complaints == []


def test_two_tabs_conflict_visibly_and_nothing_is_overwritten(chromium: Any, watched: Watched, served: Served) -> None:
    watched.say("it")
    watched.saved()
    other = Watched(chromium, served.address)
    other.say("that")
    other.saved()
    watched.say("lost")
    watched.wait("!document.querySelector('#conflict').hidden")
    assert "another tab" in watched.page.inner_text("#conflict")
    watched.say("also lost")
    watched.page.wait_for_timeout(50)
    assert watched.page.input_value("#new-phrase") == "also lost"
    watched.keys("Delete", "w")
    assert "This is not kept" in watched.page.inner_text("#toast")
    assert [phrase.text for phrase in served.document().phrases] == ["it", "that"]
    watched.page.click("#reload")
    watched.wait("document.querySelector('#conflict').hidden")
    watched.say("now")
    watched.saved()
    assert [phrase.text for phrase in served.document().phrases] == ["it", "that", "now"]
    other.keys("z")
    other.wait("!document.querySelector('#conflict').hidden")
    other.complaints.clear()
    other.close()
    assert any("409" in line for line in watched.complaints)  # which the browser notes by itself
    watched.complaints.clear()


def test_what_is_said_while_a_picture_is_left_is_kept(watched: Watched, served: Served) -> None:
    watched.page.evaluate(
        "async () => { annotate.add('first'); const going = annotate.go(1); annotate.add('second'); await going; }"
    )
    assert [phrase.text for phrase in served.document().phrases] == ["first", "second"]
    watched.page.evaluate("""async () => {
      annotate.add("of b");
      const before = annotate.go(2);
      annotate.add("of b, too");
      await Promise.all([before, annotate.go(0)]);
    }""")  # the first to be asked for is the last to be waited for
    assert watched.page.evaluate("[annotate.session.index, annotate.session.image.path]") == [0, "a.png"]
    watched.page.evaluate("annotate.go(1)")
    assert watched.page.inner_text("#name") == "b.png"


def test_a_picture_that_is_taken_away_does_not_stop_the_others(watched: Watched, served: Served) -> None:
    (served.folder.parent / "a.png").unlink()
    watched.say("nothing comes of it")
    watched.wait("!document.querySelector('#conflict').hidden")
    assert "a.png: no such file" in watched.page.inner_text("#conflict")
    watched.keys("d")
    watched.wait("document.querySelector('#name').textContent === 'b.png'")
    watched.say("it")
    watched.saved()
    assert served.document("b.png").phrases[0].text == "it"
    watched.complaints.clear()  # the browser notes the 422


def test_hostile_texts_and_names_are_only_texts(chromium: Any, tmp_path: Path) -> None:
    name = '<img src=x onerror=alert(1)>&".png'
    served = Served(put_images(tmp_path / "photos", name, size=SIZE))
    watched = Watched(chromium, served.address)
    watched.say(HOSTILE)
    watched.keys("0", "1", "g")
    assert watched.page.input_value("#text-p1") == HOSTILE
    assert watched.page.inner_text("#name") == name == watched.page.inner_text("#rows .name")
    assert watched.page.evaluate("window.hacked") is None
    watched.keys("Escape", "n")
    watched.page.keyboard.insert_text("x" * 10_000)
    assert watched.page.inner_text("#toast") == "At most 2,000 characters are taken here."
    watched.page.fill("#new-phrase", "")
    watched.close()
    assert served.document(name).phrases[0].text == HOSTILE
    served.close()


def test_a_damaged_file_is_named_and_the_next_picture_opens(chromium: Any, served: Served) -> None:
    served.folder.mkdir()
    (served.folder / "a.png.json").write_text("{")
    watched = Watched(chromium, served.address)
    assert watched.page.inner_text("#name") == "b.png"  # the first that can be done
    watched.keys("a")
    watched.wait("!document.querySelector('#fault').hidden")
    assert "a.png.json: damaged" in watched.page.inner_text("#fault")
    watched.say("nothing comes of it")
    assert watched.page.input_value("#new-phrase") == "nothing comes of it"
    watched.keys(
        "Escape", "o", "o", "P", "P", "M", "1", "l", "}", "+", "i", "R", "w", "0", "j", "X", "Space", "Space", "Enter"
    )
    watched.keys("d")
    watched.wait("document.querySelector('#fault').hidden")
    watched.say("it")
    watched.saved()
    assert served.document("b.png").phrases[0].text == "it" and (served.folder / "a.png.json").read_text() == "{"
    watched.page.evaluate("() => { annotate.go(0); return annotate.go(2); }")
    watched.wait("annotate.session.document && annotate.session.index === 2")
    assert watched.page.inner_text("#name") == "c.png" and not watched.page.is_visible("#fault")
    assert all("422" in line for line in watched.complaints)
    watched.complaints.clear()  # the browser notes the 422
    watched.close()


def test_narrow_and_dark_with_touch(chromium: Any, served: Served) -> None:
    context = chromium.new_context(viewport={"width": 400, "height": 800}, has_touch=True, color_scheme="dark")
    watched = Watched(_Pages(context), served.address)
    page = watched.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 16, 21)"
    page.fill("#new-phrase", "it")
    page.click("#composer button")
    frame = page.locator("#stage").bounding_box()
    scale = page.evaluate("annotate.stage.scale")
    page.touchscreen.tap(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2)
    watched.saved()
    assert pixels(served.document())[60, 80]
    touch, places = (
        context.new_cdp_session(page),
        [(x, frame["y"] + frame["height"] / 2 + 80) for x in range(150, 251, 20)],
    )
    watched.keys("m")
    for kind, place in (("touchStart", places[0]), *(("touchMove", place) for place in places[1:]), ("touchEnd", None)):
        points = [] if place is None else [{"x": place[0], "y": place[1]}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    watched.wait("annotate.session.masks.length === 2")  # one finger draws
    watched.saved()
    left, _, width, _ = rle.bbox(served.document().masks[1].rle)
    assert width == pytest.approx(100 / scale + 20, abs=2) and left > 0
    pinch = """([x, y]) => {
      const box = document.querySelector("#stage");
      box.setPointerCapture = () => null;
      const say = (type, pointerId, across) => box.dispatchEvent(
        new PointerEvent(type, { pointerId, pointerType: "touch", clientX: x + across, clientY: y, bubbles: true }));
      say("pointerdown", 11, -20);
      say("pointerdown", 12, 20);
      say("pointermove", 12, 60);
      say("pointerup", 12, 60);
      say("pointerup", 11, -20);
    }"""
    page.evaluate(pinch, [frame["x"] + 200, frame["y"] + 150])
    assert page.evaluate("annotate.stage.scale") == pytest.approx(2 * scale)
    watched.saved()
    assert len(served.document().masks) == 2  # two fingers draw nothing
    for tool, corners in (("S", 0), ("f", 0), ("p", 2), ("s", 2)):
        watched.keys(tool)
        for place in range(corners):
            page.touchscreen.tap(frame["x"] + 100 + 60 * place, frame["y"] + 100)
        page.evaluate(pinch, [frame["x"] + 200, frame["y"] + 150])
        assert page.evaluate("annotate.tools.points.length") == corners  # and what is begun stays
    watched.keys("Escape")
    watched.saved()
    assert len(served.document().masks) == 2
    assert all(page.evaluate(OVERLAPS, group) == [] for group in ("page", "tool", "view", "phrase", "mask", "dialogue"))
    assert all(
        one["height"] >= 36
        for one in page.evaluate(
            "[...document.querySelectorAll('.panel .action')].map((one) => one.getBoundingClientRect().toJSON())"
        )
    )
    watched.close()
    context.close()


class _Pages:
    """A context as a browser that opens pages in it."""

    def __init__(self, context: Any) -> None:
        self.context = context

    def new_page(self, **_options: Any) -> Any:
        return self.context.new_page()


def start(root: Path) -> tuple[subprocess.Popen[str], str]:
    running = subprocess.Popen(
        [sys.executable, "-c", "from stamp_cli.data import main; main()", "annotate", str(root)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    return running, running.stderr.readline().strip()


def test_kill_9_of_the_server_between_two_accepts(chromium: Any, tmp_path: Path) -> None:
    root = put_images(tmp_path / "photos", "a.png", size=SIZE)
    running, address = start(root)
    watched = Watched(chromium, address)
    watched.say("first")
    watched.keys("0", "1", "Enter")
    watched.saved()
    os.kill(running.pid, signal.SIGKILL)
    running.communicate()
    watched.say("second")
    watched.wait("!document.querySelector('#conflict').hidden")
    assert "does not answer" in watched.page.inner_text("#conflict")
    watched.page.close()
    phrases = load_document(root / "annotations/a.png.json").phrases
    assert [(phrase.text, phrase.status) for phrase in phrases] == [("first", "accepted")]
    running, address = start(root)
    watched = Watched(chromium, address)
    assert watched.page.input_value("#text-p1") == "first"
    watched.say("second")
    watched.keys("0", "1", "Enter")
    watched.saved()
    watched.close()
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)
    assert len(load_document(root / "annotations/a.png.json").phrases) == 2


@pytest.mark.parametrize("size", [(4000, 3000), (5472, 3648)])
def test_large_pictures_among_a_thousand(
    size: tuple[int, int], chromium: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Times are printed, not asserted: they are of whatever machine this runs on."""
    root = put_images(tmp_path / "photos", *(f"{number:04}.jpg" for number in range(1000)))
    noise = np.random.default_rng(0).integers(0, 255, (75, 100, 3), np.uint8)
    for name in ("0000.jpg", "0001.jpg"):
        Image.fromarray(noise).resize(size).save(root / name)
    served = Served(root)
    watched = Watched(chromium, served.address)
    watched.say("it")
    watched.page.evaluate("annotate.tools.size = 200; annotate.stage.frames = []")
    watched.pen(*((500 + 50 * step, 500 + 30 * step + 400 * (step % 2)) for step in range(60)))
    gaps = np.diff(watched.page.evaluate("annotate.stage.frames"))
    watched.saved()
    assert served.document("0000.jpg").masks
    watched.keys("m", "S")
    began = time.perf_counter()
    watched.pen((size[0] - 500.5, size[1] - 500.5))
    watched.wait("annotate.session.masks.length === 2")
    looked = time.perf_counter() - began
    watched.saved()
    assert rle.decode(served.document("0000.jpg").masks[1].rle)[size[1] - 501, size[0] - 501]
    watched.page.wait_for_timeout(500)  # the next picture is loaded meanwhile
    watched.keys("d")
    watched.wait("document.querySelector('#name').textContent === '0001.jpg' && annotate.took > 0")
    turned = watched.page.evaluate("annotate.took")
    watched.keys("g")
    assert watched.page.locator("#rows button").count() == 1000
    watched.page.fill("#find", "0777")
    watched.page.click("#rows button")
    watched.wait("document.querySelector('#name').textContent === '0777.jpg'")
    with capsys.disabled():
        print(
            f"\n{size[0]:,} × {size[1]:,} pixels: median {np.median(gaps):.1f} ms, 95 % {np.percentile(gaps, 95):.1f} ms "
            f"between frames of a stroke; first superpixel after {1000 * looked:.0f} ms; next picture after {turned:.0f} ms"
        )
    watched.close()
    served.close()


def test_the_number_of_a_mask_stands_at_the_mask(watched: Watched) -> None:
    """Not at the corner of the box around its parts."""
    watched.say("both cups")
    watched.keys("r")
    watched.pen((20, 80), (40, 110))
    watched.pen((100, 10), (120, 30))
    watched.saved()
    at = watched.page.evaluate("""() => {
      const { stage } = annotate, found = [];
      stage.masks.fillText = (text, x, y) => found.push([text, x, y]);
      stage.paintMasks();
      delete stage.masks.fillText;
      return found;
    }""")
    ((number, x, y),) = at
    assert number == "1" and 20 <= x < 30 and 80 <= y < 100
