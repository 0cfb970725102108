"""Shared by all tests: the commands as users run them, a real browser, and where the real records are."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background, and so it would be for all we start
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM", "PAGER"):
    os.environ.pop(_name, None)  # tests that speak of terminals set them

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 60  # seconds; a command that hangs is a failure, not a wait
# The first is the same browser without windows, which takes a quarter of the processor's time for each page.
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def stamp_data() -> Command:
    """Runs `stamp-data ARGUMENTS…` as a real process with stdout and stderr caught; options are those of subprocess.run."""

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [*data_command(), *map(str, arguments)]
        settings: dict[str, object] = {"capture_output": True, "text": True, "timeout": TIMEOUT, **options}
        return subprocess.run(command, **settings)  # type: ignore[call-overload, no-any-return]

    return run


def data_command() -> list[str]:
    """The console script without depending on PATH."""
    return [sys.executable, "-c", "from stamp_cli.data import main; main()"]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real records; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("STAMP_REAL_DATA", ROOT.parent / "shared" / "real"))
    if not (folder / "refer_seg").is_dir():
        pytest.skip(f"no real records at {folder}; STAMP_REAL_DATA names another folder")
    return folder


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A real browser, started once: one process cannot run two of these drivers."""
    sync_api = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} on PATH")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()
