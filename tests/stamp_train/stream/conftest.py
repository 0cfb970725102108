"""Small sets in their real form, built once from rendered scenes; tests that damage one copy it first."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stamp_data.build.jobs import Job, run_job
from stamp_data.executors.local import LocalExecutor
from stamp_data.synth import synthesize

from .making import MAX_TOKENS, MIN_TOKENS


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `refcoco-unc/train` (pictures with several dialogues each) and `llava/train` (some without a picture)."""
    base = tmp_path_factory.mktemp("stream")
    synthesize(base / "raw", images=60, size=(112, 84), seed=3)
    names, out = ("refcoco", "llava"), base / "shards"
    job = Job(names, base / "raw", out, min_tokens=MIN_TOKENS, max_tokens=MAX_TOKENS, shard_records=5, passes=2)
    for _ in run_job(job, LocalExecutor(1), lambda *_: None):
        pass
    return out


@pytest.fixture(scope="session")
def refcoco(shards: Path) -> str:
    return str(shards / "refcoco-unc" / "train")


@pytest.fixture(scope="session")
def llava(shards: Path) -> str:
    return str(shards / "llava" / "train")


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a set that a test may damage."""

    def copy(folder: str) -> Path:
        return Path(shutil.copytree(folder, tmp_path / "copy"))

    return copy
