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
