"""README and the pages of the first hours: every block of commands works as typed, in order, in one folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stamp_cli import data, train
from stamp_data import rle
from stamp_data.annotate.change import Change
from stamp_data.annotate.images import Images
from stamp_data.annotate.store import Store
from stamp_schemas.annotated import DrawnMask, SaidPhrase

from ..conftest import ROOT
from ..stamp_train.eval.made_sets import save_lively
from ..stamp_train.predict.tiny_sam import official_file, tiny_sam
from ..stamp_train.runs import make_shards
from .running import ADDED, NOT_RUN, PAGES, calls, made, pictures, run

README = ROOT / "README.md"
SETS = ("refclef", "refcoco", "refcoco+", "refcocog", "grefcoco")


def downloads(folder: Path) -> None:
    pictures(folder)


def cluster(folder: Path) -> None:
    make_shards(folder, SETS)


def own_pictures(folder: Path) -> None:
    """Twenty pictures would be annotated by hand; here are two."""
    pictures(folder)
    save_lively(folder / "checkpoint")
    images = Images(folder / "photos")
    for number in range(2):
        file = images.file(number)
        mask = np.zeros((file.height, file.width), np.uint8)
        mask[10:40, 10:40] = 1
        said = {
            "p1": SaidPhrase("p1", "the red car", ["m1"], status="accepted"),
            "p2": SaidPhrase("p2", "a cow", nothing="absent", status="accepted"),
        }
        change = Change({**said}, {"m1": DrawnMask("m1", rle.encode(mask))})
        Store(folder / "photos/annotations", "Ada").change(file, 0, change)


def checkpoint(folder: Path) -> None:
    pictures(folder)
    make_shards(folder, ("refcoco",))
    save_lively(folder / "runs/tiny")
    official_file(tiny_sam(), folder / "sam_vit_h_4b8939.pth")


PREPARED: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "README.md": (downloads, ("refcoco-val.html", "runs/tiny/final", "predictions/masks")),
    "docs/first-hour/downloads.md": (
        downloads,
        ("refcoco-val.html", "smallest.png", "evaluations", "predictions/overlays"),
    ),
    "docs/first-hour/cluster.md": (cluster, ("runs/tiny/checkpoints", "my-model/README.md")),
    "docs/first-hour/pictures.md": (own_pictures, ("annotated.html", "own/final", "after/page.html", "my-model")),
    "docs/use.md": (checkpoint, ("answers/predictions.jsonl", "refined/masks", "my-model/README.md")),
}
"""Page -> the reader's own files that it speaks of, and what has to be there in the end."""


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_page_works_as_typed(page: str, tmp_path: Path) -> None:
    prepare, expected = PREPARED[page]
    prepare(tmp_path)
    run(page, tmp_path)
    made(tmp_path, *expected)


def test_readme_is_short_and_its_table_has_every_command() -> None:
    text = README.read_text(encoding="utf-8")
    names = [f"stamp-data {name}" for name in data.COMMANDS] + [f"stamp-train {name}" for name in train.COMMANDS]
    assert [name for name in names if not re.search(rf"^\| `{name}[` ]", text, re.MULTILINE)] == []
    assert len(text.splitlines()) < 150


def test_every_substitution_is_of_something_that_stands_there() -> None:
    written = [call.text for page in PAGES for call in calls(page)]
    assert [part for part in (*NOT_RUN, *ADDED) if not any(part in text for text in written)] == []
    assert len(written) > 40
