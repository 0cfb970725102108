"""Ten thousand damaged files: every one is read, in part or not at all, and none ends in a traceback or a hang.

`make fuzz` feeds ten times as many and writes docs/fuzz.md.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from . import annotating, pictures, recipes, sets, sources
from .harness import REFUSED, Reader, attempt, feed

READERS = [*sources.READERS, *pictures.READERS, *sets.READERS, *recipes.READERS, *annotating.READERS]


def test_ten_thousand_in_all() -> None:
    assert sum(reader.share for reader in READERS) >= 10_000
    assert len({reader.name for reader in READERS}) == len(READERS)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_damaged_files(reader: Reader, tmp_path: Path) -> None:
    tally = feed(reader, reader.share, tmp_path)
    if tally.bugs:
        number, fault, data = tally.bugs[0]
        raise AssertionError(f"case {number} of {len(tally.bugs)} bugs: {data!r}") from fault


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_the_undamaged_file_is_read(reader: Reader, tmp_path: Path) -> None:
    assert attempt(reader, reader.write(tmp_path)) != REFUSED


@pytest.mark.parametrize("reader", sources.READERS, ids=lambda reader: reader.name)
def test_the_undamaged_raw_file_leaves_no_row(reader: Reader, tmp_path: Path) -> None:
    assert attempt(reader, reader.write(tmp_path)) == "read"
