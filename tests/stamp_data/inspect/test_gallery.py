"""The one file: complete, closed to the network, and proof against what stands in the data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stamp_data.inspect.gallery import LARGEST_SIDE, SMALLEST_SIDE, thumbnail_side, write_gallery
from stamp_data.inspect.selection import Selection
from stamp_data.web.document import script_safe
from stamp_schemas import StampError, UsageFault

from .scenes import HOSTILE


def data_of(html: str) -> Any:
    """What the page's script reads, with attributes."""
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    return json.loads(block, object_hook=lambda values: SimpleNamespace(**values))


@pytest.fixture(scope="module")
def html(zoo_set: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("gallery") / "gallery.html"
    summary = write_gallery([zoo_set], out, Selection(budget=2000))
    assert (summary.records, summary.total, summary.notice) == (15, 15, "")
    assert summary.bytes == out.stat().st_size
    return out.read_text("utf-8")


def test_it_holds_everything(html: str) -> None:
    data = data_of(html)
    assert [record.key for record in data.records][:2] == ["r00", "r01"]
    first = data.records[0]
    assert [dialogue.passes for dialogue in first.dialogues] == [2, 1, 1, 1]
    assert first.picture.startswith("data:image/jpeg;base64,")
    assert first.targets[0].path.startswith("M")
    assert first.targets[3].path == ""
    assert first.targets[3].labels is None
    window = first.targets[0].labels
    assert window is not None
    assert len(base64.b64decode(window.data)) == window.height * window.width
    assert next(record for record in data.records if record.key == "talk").picture == ""
    assert data.report.statistics.all.records == 15


def test_hostile_text_stays_within_the_data(html: str) -> None:
    hostile = next(record for record in data_of(html).records if record.key == "hostile")
    assert hostile.dialogues[0].text == HOSTILE
    assert "<img src=x" not in html
    assert html.count("</script>") == 2
    assert script_safe(b'{"a":"</script><!--&"}') == '{"a":"\\u003c/script\\u003e\\u003c!--\\u0026"}'


def test_policy_allows_its_own_parts_and_nothing_else(html: str) -> None:
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy
    (style,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    for text in (style, script):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    addresses = set(re.findall(r"https?://[^\s\"'`)]+", html))
    assert addresses <= {"http://www.w3.org/2000/svg"}


def test_limits_and_notices(zoo_set: Path, tmp_path: Path) -> None:
    out = tmp_path / "g.html"
    assert "4 of 15 records are shown" in write_gallery([zoo_set], out, max_images=4).notice
    assert "match --where" in write_gallery([zoo_set], out, Selection(where="kind == 'no_target'")).notice
    assert {len(record.dialogues) for record in data_of(out.read_text(encoding="utf-8")).records} == {1}
    with pytest.raises(StampError, match="no record to show"):
        write_gallery([zoo_set], out, Selection(where="area > 3"))
    with pytest.raises(UsageFault):
        write_gallery([zoo_set], out, max_images=0)
    with pytest.raises(FileNotFoundError, match=r"nowhere/g\.html"):
        write_gallery([zoo_set], tmp_path / "nowhere" / "g.html")


def test_it_is_the_same_twice(zoo_set: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_gallery([zoo_set], tmp_path / name, Selection(seed=1), max_images=5)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_thumbnails_shrink_as_they_get_many() -> None:
    assert thumbnail_side(1) == LARGEST_SIDE
    assert LARGEST_SIDE > thumbnail_side(500) > thumbnail_side(1000) > SMALLEST_SIDE
    assert thumbnail_side(100_000) == SMALLEST_SIDE
