"""The page of a comparison in a real browser."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from stamp_train.compare.curves import curves
from stamp_train.compare.page import page
from stamp_train.compare.scenes import Scene

from ...browsing import Watched
from .made import SET, comparison, row

HOSTILE = '"><img src=x onerror="window.hacked=1">'


@pytest.mark.browser
def test_scenes_are_looked_at_closely(chromium: Any, tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (200, 60), (90, 120, 90)).save(picture, "JPEG")
    found = comparison(row("stamp"), row("boxes"))
    shown = [Scene(SET, f"a/{i}", text, {"stamp": 0.5}, picture.getvalue()) for i, text in enumerate(("cup", HOSTILE))]
    (tmp_path / "page.html").write_text(page(found, curves(found), shown), encoding="utf-8")
    watched = Watched(chromium, (tmp_path / "page.html").as_uri())
    fills = "['rect', 'text'].map((name) => getComputedStyle(document.querySelector(`.wide svg > ${name}`)).fill)"
    light = watched.page.evaluate(fills)
    watched.keys("t")
    dark = watched.page.evaluate(fills)
    assert light[0] == "rgb(255, 255, 255)" and dark[0] != light[0] and dark[1] != light[1]
    watched.keys("t")
    watched.page.click(".scene button >> nth=0")
    wide = watched.page.locator("#large .frame").bounding_box()["width"]
    watched.keys("=")
    assert watched.page.locator("#large .frame").bounding_box()["width"] == pytest.approx(1.25 * wide, abs=0.05)
    watched.keys("V")
    assert watched.page.locator("#large .frame").bounding_box()["width"] == pytest.approx(200)
    watched.keys("j", "j")
    assert HOSTILE in watched.page.inner_text("#large aside")
    watched.keys("Escape")
    assert watched.page.evaluate("document.activeElement.closest('.scene')?.textContent.includes('a/1')")
    assert watched.page.evaluate("window.hacked") is None
    watched.close()
