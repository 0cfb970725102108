"""A model that proposes masks, on the page: accepted, mended, rejected; and never over what people drew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stamp_data.annotate.server import Proposer
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
    served = Served(put_images(tmp_path / "photos", "a.png", size=(160, 120)), proposer=Proposer("run/9", known))
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
