"""Shared by all tests: the commands as users run them, and where the real records are."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TIMEOUT = 60  # seconds; a command that hangs is a failure, not a wait

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
