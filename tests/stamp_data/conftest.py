"""One set, built once: what builds that are disturbed, or done otherwise, are held against."""

from __future__ import annotations

from pathlib import Path

import pytest

from .raw import build, plain_set, refusing_shards, tree


@pytest.fixture(scope="module")
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw data with IMAGES pictures, as the test's module says."""
    return plain_set(tmp_path_factory.mktemp("plain") / "data", request.module.IMAGES, refused=3)


@pytest.fixture(scope="module")
def undisturbed(
    request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """Every file that a build of it leaves, with RECORDS records in a shard."""
    out, records = tmp_path_factory.mktemp("undisturbed"), request.module.RECORDS
    build(root, out, shard_records=records)
    made = tree(out)
    assert len(refusing_shards(made)) == request.module.IMAGES // records, "every shard is to have something to tell"
    return made
