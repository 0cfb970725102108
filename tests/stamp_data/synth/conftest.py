"""One small playground for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from stamp_data.synth import synthesize

IMAGES, SIZE, SEED = 120, (256, 192), 7


@pytest.fixture(scope="session")
def playground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synth") / "data"
    synthesize(out, images=IMAGES, size=SIZE, seed=SEED)
    return out
