"""A model that proposes masks, on the page: accepted, mended, rejected; and never over what people drew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stamp_data import rle
from stamp_data.annotate.server import Clicker, Models, Proposer
from stamp_data.annotate.stats import annotate_stats
from stamp_schemas import StampError

from .making import put_images
from .serving import Served, Watched

pytestmark = pytest.mark.browser


class Known:
    """Proposes a box whose left edge is the first number of a phrase; nothing for a phrase without one."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, pixels: Any, phrases: Sequence[str]) -> list[Any]:
        self.asked.append([*phrases])
        if "broken" in phrases:
            raise StampError("the model is broken")
        found = []
        for phrase in phrases:
            number = next(map(int, filter(str.isdigit, phrase.split())), None)
            mask = np.zeros(pixels.shape[:2], bool)
            mask[10:30, number or 0 : (number or 0) + 20] = True
            found.append(None if number is None else mask)
        return found


def seen(_: Any) -> list[str]:
    return ["disc at 10", "Mine: 40", "a cow", "box at 60", "at 90"]


def test_phrases_and_masks_are_accepted_changed_rejected(chromium: Any, tmp_path: Path) -> None:
    known = Known()
    models = Models(Proposer("run/9", known, seen))
    served = Served(put_images(tmp_path / "photos", "a.png", size=(160, 120)), models=models)
    watched = Watched(chromium, served.address)
    watched.say("mine 40")
    watched.keys("r")
    watched.pen((100.5, 50.5), (120.5, 70.5))
    watched.keys("Enter", "N")
    watched.wait("annotate.session.masks.length === 4")
    watched.saved()
    told = watched.page.inner_text("#toast")
    assert "proposes 3 phrases" in told and "1 are said already" in told and "1 more it names" in told
    document = served.document()
    assert [phrase.text for phrase in document.phrases] == ["mine 40", "disc at 10", "box at 60", "at 90"]
    assert [phrase.status for phrase in document.phrases] == ["accepted", "proposed", "proposed", "proposed"]
    assert [phrase.made.by for phrase in document.phrases] == ["Ada", "run/9", "run/9", "run/9"]
    mine = document.masks[0]
    assert watched.page.evaluate("annotate.session.phrase") == "p2"
    watched.keys("Enter", "t")
    watched.page.keyboard.insert_text("the blue box")
    watched.keys("Enter", "Enter", "R")
    watched.saved()
    document = served.document()
    assert [(one.text, one.status, one.made.by) for one in document.phrases] == [
        ("mine 40", "accepted", "Ada"),
        ("disc at 10", "accepted", "Ada"),
        ("the blue box", "accepted", "Ada"),
    ]
    assert [one.proposal and one.proposal.text for one in document.phrases] == [None, "disc at 10", "box at 60"]
    assert document.masks[0] == mine and [one.role for one in document.masks[1:]] == ["target", "target", "rejected"]
    watched.keys("N")
    watched.wait("document.querySelector('#toast').textContent.includes('proposes 2 phrases')")
    watched.keys("z")  # one step
    watched.wait("annotate.session.redoable")
    assert served.document().phrases == document.phrases
    watched.close()
    served.close()


def test_a_model_that_names_nothing_says_so(chromium: Any, tmp_path: Path) -> None:
    def silent(_: Any) -> list[str]:
        raise StampError("this model names nothing here")

    root = put_images(tmp_path / "photos", "a.png", size=(160, 120))
    for models, why in (
        (Models(Proposer("m", Known(), silent)), "names nothing here"),
        (Models(Proposer("m", Known())), "m proposes masks for phrases, but no phrases"),
        (Models(), "start the command with --predict"),
    ):
        served = Served(root, models=models)
        watched = Watched(chromium, served.address)
        watched.keys("N")
        watched.wait(f"document.querySelector('#toast').textContent.includes('{why}')")
        watched.complaints.clear()  # the browser notes the 422
        watched.close()
        served.close()


def test_the_model_beside_what_a_person_drew(chromium: Any, tmp_path: Path) -> None:
    known = Known()
    root = put_images(tmp_path / "photos", "a.png", "b.png", size=(160, 120))
    served = Served(root, models=Models(Proposer("run/9", known)))
    watched = Watched(chromium, served.address)
    facts = "document.querySelector('#compare-facts').textContent"
    watched.say("at 50")
    watched.keys("r")
    watched.pen((60.5, 10.5), (79.5, 29.5))  # the model draws the same height from 50 to 70
    watched.saved()
    before = served.document()
    watched.keys("M")
    watched.wait(f"{facts}.startsWith('IoU 0.333 with run/9')")
    assert "200 px in both" in watched.page.inner_text("#compare-facts")
    assert known.asked == [["at 50"]] and served.document() == before
    pressed = "document.querySelector('#do-model-beside-mine').getAttribute('aria-pressed')"
    assert watched.page.evaluate(pressed) == "true"
    colours = """([xs, y]) => {
      const { stage } = annotate, at = (place, off) => Math.round(window.devicePixelRatio * (off + place * stage.scale));
      const row = stage.masks.getImageData(0, at(y, stage.y), stage.masks.canvas.width, 1).data;
      return xs.map((x) => [...row.slice(4 * at(x, stage.x), 4 * at(x, stage.x) + 3)]);
    }"""
    found = watched.page.evaluate(colours, [[55, 65, 76], 24])
    assert [max(range(3), key=one.__getitem__) for one in found] == [0, 1, 2]  # the model's, both, mine
    watched.page.click("#do-model-beside-mine")
    watched.wait(f"{facts} === '' && {pressed} === 'false'")
    watched.say("at 100")
    watched.keys("*")
    watched.wait("annotate.session.masks.length === 2")
    watched.keys("}", "M")
    watched.wait(f"{facts}.startsWith('IoU 0.833')")  # 20 × 20 of that and its four sides
    watched.say("a cow")
    watched.wait(f"{facts}.startsWith('No model has drawn this phrase yet')")
    watched.keys("M")
    watched.wait(f"{facts}.startsWith('Neither this nor run/9')")
    watched.keys("d")
    watched.wait("document.querySelector('#name').textContent === 'b.png'")
    watched.close()
    served.close()


def test_accepted_mended_rejected(chromium: Any, tmp_path: Path) -> None:
    known = Known()
    served = Served(put_images(tmp_path / "photos", "a.png", size=(160, 120)), models=Models(Proposer("run/9", known)))
    watched = Watched(chromium, served.address)
    watched.say("mine 40")
    watched.keys("r")
    watched.pen((100.5, 50.5), (120.5, 70.5))
    for text in ("at 10", "at 60", "at 90", "a cow"):
        watched.say(text)
    watched.keys("*")
    watched.wait("annotate.session.masks.length === 4")
    watched.saved()
    assert known.asked == [["at 10", "at 60", "at 90", "a cow"]]  # what a person drew is not asked for
    document = served.document()
    assert [phrase.status for phrase in document.phrases] == ["new", "proposed", "proposed", "proposed", "new"]
    assert [mask.made.by for mask in document.masks] == ["Ada", "run/9", "run/9", "run/9"]
    watched.page.click("#text-p2")
    watched.keys("Escape", "Enter")
    assert watched.page.evaluate("annotate.session.phrase") == "p1"
    watched.page.click("#text-p3")
    watched.keys("Escape", "}", "Enter")
    watched.page.click("#text-p4")
    watched.keys("Escape", "R")
    watched.saved()
    document = served.document()
    assert [phrase.status for phrase in document.phrases] == ["new", "accepted", "accepted", "new", "new"]
    assert [mask.role for mask in document.masks] == ["target", "target", "target", "rejected"]
    assert watched.page.locator("#masks .row").count() == 3
    found = annotate_stats(served.folder).proposals["run/9"]
    assert (found.unchanged, found.fixed, found.rejected, found.open) == (1, 1, 1, 0)
    watched.say("broken")
    watched.keys("*")
    watched.wait("document.querySelector('#toast').textContent.includes('the model is broken')")
    watched.complaints.clear()  # the browser notes the 422
    watched.close()
    served.close()


def pointed(pixels: Any, inside: Sequence[Any], outside: Sequence[Any], box: Sequence[Any]) -> list[Any]:
    """Squares around the first place of growing size; none where a place outside is told; the box, if there is one."""
    sizes = [5, 10, 15]
    found = []
    for size in sizes:
        mask = np.zeros(pixels.shape[:2], bool)
        if box:
            (left, top), (right, bottom) = np.sort(np.array(box), axis=0).astype(int)
            mask[top:bottom, left:right] = True
        else:
            x, y = map(int, inside[0])
            mask[y - size : y + size, x - size : x + size] = True
        for x, _ in outside:
            mask[:, int(x) :] = False
        found.append(mask)
    return found


def test_pointing_at_things(chromium: Any, tmp_path: Path) -> None:
    root = put_images(tmp_path / "photos", "a.png", size=(160, 120))
    served = Served(root, models=Models(clicker=Clicker("sam=x", pointed)))
    watched = Watched(chromium, served.address)
    watched.say("it")
    watched.keys("G")
    watched.pen((40.5, 40.5))
    watched.wait("annotate.tools.seen?.masks.length === 3")
    watched.keys(";", "x")
    watched.pen((45.5, 60.5))  # not of it
    watched.wait("annotate.tools.seen.outside.length === 1 && annotate.tools.seen.chosen === 0")
    watched.wait("!document.querySelector('#stage').hasAttribute('data-looking')")
    watched.keys(";", "x", "Enter")
    watched.wait("annotate.session.masks.length === 1")
    watched.saved()
    (one,) = served.document().masks
    assert one.proposal is not None and one.proposal.model == "sam=x" and one.made.by == "sam=x"
    assert rle.bbox(one.rle) == (30, 30, 15, 20)
    watched.say("in a box")
    watched.pen((100.5, 50.5), (120.5, 80.5))
    watched.wait("annotate.tools.seen?.masks.length === 3")
    watched.keys("Escape")
    assert watched.page.evaluate("annotate.session.masks.length") == 1
    watched.pen((100.5, 50.5), (120.5, 80.5))
    watched.wait("annotate.tools.seen?.masks.length === 3")
    watched.keys("Enter", "Enter")
    watched.saved()
    assert rle.bbox(served.document().masks[1].rle) == (100, 50, 20, 30)
    assert served.document().phrases[1].status == "accepted"
    assert served.ask("api/suggest?image=0", {"tool": "points", "places": [], "box": [[1, 1]]})[0] == 422
    watched.close()
    served.close()
