"""Where real records are, for those who have them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real records in their raw formats: STAMP_REAL_DATA, or `shared/real` beside the repository."""
    folder = Path(os.environ.get("STAMP_REAL_DATA", REPOSITORY.parent / "shared" / "real"))
    if not folder.is_dir():
        pytest.skip("no real records here: set STAMP_REAL_DATA to their folder")
    return folder
