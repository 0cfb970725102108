"""A set of every kind of record, and a browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A real browser, started once."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on PATH")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()
