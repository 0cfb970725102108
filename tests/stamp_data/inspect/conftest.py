"""A set of every kind of record."""

from __future__ import annotations

from pathlib import Path

import pytest

from .scenes import Scene, write_set, zoo


@pytest.fixture(scope="session")
def zoo_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT of a set of the `zoo`, and a second split with one of its pictures."""
    out = tmp_path_factory.mktemp("zoo")
    write_set(out, zoo())
    shared = Scene("v00", seed=3).target("a", (10, 10, 70, 90)).says("the dog again", [0]).made("val")
    other = Scene("v01", seed=77).target("a", (0, 0, 160, 120)).says("all of it", [0]).made("val")
    write_set(out, [shared, other], split="val", tokens=True)
    return out
