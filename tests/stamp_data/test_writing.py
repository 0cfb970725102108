"""Folders of one writer."""

from __future__ import annotations

from pathlib import Path

import pytest

from stamp_data.writing import LOCK, hold
from stamp_schemas import StampError


def test_a_folder_is_held_by_one(tmp_path: Path) -> None:
    with hold(tmp_path, "build"), pytest.raises(StampError, match=r"another build is at work here \(process \d+ on"):
        hold(tmp_path, "build").__enter__()
    assert not [*tmp_path.iterdir()]
    with hold(tmp_path, "build"):
        pass


def test_a_link_in_place_of_the_lock_leaves_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK).symlink_to(tmp_path / "mine.txt")
    with pytest.raises(StampError, match="a link stands where the lock is to be"):
        hold(tmp_path / "out", "build").__enter__()
    assert (tmp_path / "mine.txt").read_text() == "mine"
