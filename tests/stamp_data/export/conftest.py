"""Shard sets to be exported."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..making import ListSource, assorted, build, pictured


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of record, each expression drawn twice."""
    root = tmp_path_factory.mktemp("mixed")
    return build(assorted(root / "raw", 14), root / "out", passes=2)


@pytest.fixture(scope="session")
def simple(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with expressions of one thing that is there: what every format can hold."""
    root = tmp_path_factory.mktemp("simple")
    annotations = [pictured(root / "raw", number, suffix="png" if number % 2 else "jpg") for number in range(9)]
    for annotation in annotations:
        annotation.requests = annotation.requests[:1]
        annotation.requests[0].targets = [0]
        annotation.targets[1].regions = annotation.targets[1].regions[:2]
        annotation.requests.append(type(annotation.requests[0])("1", "the cat", [1], ("tiny.json", "sentence 1")))
    return build(ListSource(root / "raw", annotations), root / "out")
