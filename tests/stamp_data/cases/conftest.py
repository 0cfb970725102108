"""Raw data as people really have it, one folder per case taken from public bug reports.

A case is a folder with `make.py`, which writes the raw files of the case into a folder. Tests are skipped where there are no
cases; the right values have tests of their own, whose inputs they make, in `sources/` and beside this folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ...conftest import ROOT

CASES = Path(os.environ.get("STAMP_CASES", ROOT.parent / "shared" / "cases" / "data"))


@pytest.fixture
def made(tmp_path: Path, record_property: Callable[[str, str], None]) -> Callable[[str], Path]:
    """Writes the raw files of a case."""

    def make(name: str) -> Path:
        record_property("case", name)
        script = CASES / name / "make.py"
        if not script.is_file():
            pytest.skip(f"no case at {script}; STAMP_CASES names another folder")
        root = tmp_path / "raw"
        root.mkdir()
        subprocess.run([sys.executable, "-W", "ignore", script, root], check=True, capture_output=True)
        return root

    return make
