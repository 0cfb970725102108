"""A number that was measured names the script that prints it, in its section or a page that does; benchmarks at their head."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ..conftest import ROOT
from .pages import FENCED, name, pages, text

MEASURED = re.compile(
    r"(?<![\w.×])\d[\d,.]*(?:–\d[\d,.]*)? ?(?:×(?!\s*\d)|ms\b|s\b|min\b|[GM]i?B\b|points\b)"  # time, memory, ratios
    r"|(?<![\w.])0\.\d{3}\b|(?<![\w.])0\.\d\d\b(?= /)|\b\d\.\d\dx\b"  # scores
)
SOURCE = re.compile(
    r"(?:bench|tests|tools)[/.][\w/.]+|make (?:demo|bench|fuzz|test)|benchmarks/\w+\.md"
    r"|no script here|arithmetic"  # which is honest, too
)
RULES = {
    "docs/shard-format.md": "numbers are rules",
    "docs/refinement.md": "numbers are settings",
    "docs/formats.md": "numbers are rules",
    "docs/reference": "made from the code, where numbers are rules",
    "docs/annotate.md": "numbers are rules, and the walk names its test",
    "CHANGELOG.md": "says what changed",
    "docs/stream.md: Sets behind a URL": "seconds are settings",
}
"""Pages, folders or sections -> why they hold none that is measured."""


def sections(page: Path) -> list[tuple[str, str]]:
    """(heading, text) of what stands under each heading of the second rank; the head of the page has none."""
    parts = re.split(r"^## (.+)$", text(page), flags=re.MULTILINE)
    return [("", parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]


@pytest.mark.parametrize("page", pages(), ids=name)
def test_measured_numbers_name_their_script(page: Path) -> None:
    parts = sections(page)
    whole = name(page).startswith(("docs/benchmarks/", "docs/fuzz.md")) and bool(SOURCE.search(parts[0][1]))
    bare = [
        f"{place}: {found[0]!r}"
        for heading, part in parts
        if (found := MEASURED.search(FENCED.sub("", part)))
        and not (place := f"{name(page)}: {heading}").startswith(tuple(RULES))
        and not SOURCE.search(part)
        and not whole
    ]
    assert not bare


@pytest.mark.parametrize("page", pages(), ids=name)
def test_scripts_that_are_named_are_there(page: Path) -> None:
    named = re.findall(r"\b((?:bench|tests|tools)/[\w/.-]*\w)", text(page))
    assert not [path for path in named if not (ROOT / path).exists()]
