"""Every link of every page leads somewhere: to a file, a heading, or an address that is well formed (no network is asked)."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from ..conftest import ROOT
from .pages import anchors, name, pages, prose, text

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+(?:\([^)\s]*\)[^)\s]*)*)\)")


@pytest.mark.parametrize("page", pages(), ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    lost = [link for link in LINK.findall(re.sub(r"`[^`]*`", "code", prose(page))) if not leads(page, link)]
    assert not lost


def leads(page: Path, link: str) -> bool:
    if "://" in link:
        address = urlsplit(link)
        return address.scheme in ("http", "https") and "." in address.netloc
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not target.is_relative_to(ROOT):
        return False
    return not anchor or (target.suffix == ".md" and anchor in anchors(target))


def test_every_page_is_in_the_navigation_and_in_the_index() -> None:
    """MkDocs' own check asks for the first; `docs/index.md` is what GitHub's readers have."""
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda *_: None)
    told = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), loader)
    listed = set(re.findall(r"[\w/-]+\.md", str(told["nav"])))
    there = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert listed == there | {"CONTRIBUTING.md", "SECURITY.md", "RELEASING.md", "CHANGELOG.md"}
    index = text(ROOT / "docs/index.md")
    assert not [path for path in there - {"index.md"} if f"]({path}" not in index]


def test_every_picture_is_shown_and_made_by_the_script() -> None:
    shown = {Path(link).name for page in pages() for link in LINK.findall(text(page)) if "pictures/" in link}
    made = re.findall(r'keep\(page, "(\w+)"\)', (ROOT / "tools/screenshots.py").read_text(encoding="utf-8"))
    there = {path.name for path in (ROOT / "docs").rglob("*") if path.suffix in (".png", ".webp", ".jpg")}
    assert shown == there == {f"{one}.webp" for one in made}
    assert all(path.stat().st_size <= 150 * 1024 for path in (ROOT / "docs/pictures").iterdir())


def test_a_page_is_no_longer_than_a_page() -> None:
    made = ROOT / "docs/reference"
    long = {name(page): len(text(page).splitlines()) for page in pages() if made not in page.parents}
    assert not {page: lines for page, lines in long.items() if lines > 310}
