"""The project's Markdown: which pages there are, and what stands in them apart from blocks of code."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from ..conftest import ROOT

FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "RELEASING.md", "CHANGELOG.md")


def pages() -> list[Path]:
    """Every page that people read, the root's and those of docs/."""
    found = [ROOT / name for name in TOP]
    return [*found, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "tools").rglob("*.md"))]


def name(page: Path) -> str:
    """Of a test."""
    return page.relative_to(ROOT).as_posix()


@cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """Without fenced blocks."""
    return FENCED.sub("", text(page))


def anchors(page: Path) -> set[str]:
    """What `#…` may name: headings as GitHub spells them, the second of a name with -1."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?)\s*$", prose(page), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = next(n for n in range(100) if (f"{slug}-{n}" if n else slug) not in found)
        found.add(f"{slug}-{number}" if number else slug)
    return found
