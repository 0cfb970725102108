"""Every block of commands of every page works as typed, in order, in one folder, or tests/docs/exceptions.py says why not."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from stamp_cli import data, train
from stamp_data import rle
from stamp_data.annotate.begin import begin_from
from stamp_data.annotate.change import Change
from stamp_data.annotate.images import Images
from stamp_data.annotate.store import Store
from stamp_data.shards.reader import ShardSet
from stamp_schemas.annotated import DrawnMask, SaidPhrase

from ..conftest import ROOT
from ..stamp_train.eval.made_sets import save_lively
from ..stamp_train.predict.tiny_sam import official_file, tiny_sam
from ..stamp_train.runs import make_shards
from .exceptions import ADDED, ELSEWHERE, NOT_RUN, REPLACED
from .pages import name, pages
from .running import calls, made, pictures, run, written

README = ROOT / "README.md"
SETS = ("refclef", "refcoco", "refcoco+", "refcocog", "grefcoco")
SAM = "sam_vit_h_4b8939.pth"
MASKED = """
import numpy as np
image, masks = np.zeros((64, 96, 3), np.uint8), [np.arange(64 * 96).reshape(64, 96) % 96 < 40]
logits = [np.where(masks[0][::8, ::8], 4.0, -4.0).astype(np.float32)]
"""
"""What stands for the picture and the masks of `docs/refinement.md`."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw data, sets that were built of it, a checkpoint and weights of SAM: all small, and for all pages the same."""
    folder = tmp_path_factory.mktemp("home")
    make_shards(folder, SETS)
    save_lively(folder / "checkpoint")
    official_file(tiny_sam(), folder / SAM)
    return folder


def own_pictures(folder: Path) -> None:
    """Twenty pictures would be annotated by hand; here are two."""
    pictures(folder)
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


def reviewed(folder: Path) -> None:
    """A picture of a set, and one of its phrases in other words."""
    place = folder / "shards/refcoco-unc/val"
    (folder / "photos").mkdir()
    with ShardSet(place) as shards:
        (folder / "photos/one.jpg").write_bytes(shards.load(shards.rows[0]).image or b"")
    images, store = Images(folder / "photos"), Store(folder / "photos/annotations", "Ada")
    begin_from([str(place)], images, store)
    document = store.open(images.file(0)).document
    said = replace(document.phrases[0], text="what Ada says", status="accepted")
    store.change(document.image, document.revision, Change({said.id: said}))


def evaluated(folder: Path) -> None:
    """The other evaluation is the one that the page's first command makes."""
    (folder / "evaluations").mkdir()
    (folder / "evaluations/other").symlink_to("stamp-2b")


def nothing(folder: Path) -> None:
    pass


Prepared = tuple[dict[str, str], Callable[[Path], None], tuple[str, ...]]
PREPARED: dict[str, Prepared] = {
    "README.md": ({}, pictures, ("refcoco-val.html", "runs/tiny/final", "predictions/masks")),
    "docs/first-hour/downloads.md": (
        {},
        pictures,
        ("refcoco-val.html", "smallest.png", "evaluations", "predictions/overlays"),
    ),
    "docs/first-hour/cluster.md": ({"shards": "shards"}, nothing, ("runs/tiny/checkpoints", "my-model/README.md")),
    "docs/first-hour/pictures.md": (
        {"checkpoint": "checkpoint"},
        own_pictures,
        ("annotated.html", "own/final", "after/page.html", "my-model"),
    ),
    "docs/install.md": ({"raw": "playground/data"}, nothing, ()),
    "docs/annotate.md: Review of sets": (
        {"raw": "data", "shards": "shards"},
        reviewed,
        ("fixes.jsonl", "shards/refcoco-unc/val"),
    ),
    "docs/training.md": ({"shards": "shards"}, nothing, ()),
    "docs/clusters.md": ({"raw": "ROOT", "shards": "shards"}, nothing, ("OUT/refcoco-unc/train/manifest.json",)),
    "docs/stream.md": ({"shards": "shards"}, nothing, ()),
    "docs/methods.md": ({"shards": "shards"}, nothing, ()),
    "docs/use.md": (
        {"shards": "shards", "checkpoint": "runs/tiny", SAM: SAM},
        pictures,
        ("answers/predictions.jsonl", "refined/masks", "my-model/README.md"),
    ),
    "docs/refinement.md": ({SAM: SAM}, nothing, ()),
    "docs/evaluation.md": (
        {"shards": "shards", "checkpoint": "runs/stamp-2b", SAM: SAM},
        evaluated,
        ("evaluations/stamp-2b/page.html",),
    ),
}
"""Page or section -> what of `home` lies under which name; the reader's own files; what is there in the end."""


@pytest.mark.slow
@pytest.mark.parametrize("place", PREPARED)
def test_a_page_works_as_typed(place: str, home: Path, tmp_path: Path) -> None:
    taken, prepare, expected = PREPARED[place]
    for here, there in taken.items():
        (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
        if (home / here).is_dir():
            shutil.copytree(home / here, tmp_path / there, copy_function=os.link)
        else:
            os.link(home / here, tmp_path / there)
    prepare(tmp_path)
    run(place, tmp_path, MASKED if "refinement" in place else "")
    made(tmp_path, *expected)


def test_no_block_is_forgotten() -> None:
    """Of each page, or of each of its sections: run here or elsewhere, or every line of it has a reason not to be."""
    lost = []
    for page in map(name, pages()):
        known = {*PREPARED, *ELSEWHERE}
        sections = [page, *(f"{page}: {heading}" for heading in re.findall(r"^## (.+)$", written(page), re.MULTILINE))]
        within = {call.text for place in sections if place in known for call in calls(place)}
        lost += [f"{page}: {call.text}" for call in calls(page) if call.small and call.text not in within]
    assert not lost


def test_commands_stand_in_fenced_blocks() -> None:
    """Those that are indented are not seen by what runs them."""
    first = r"^ {4}(?:stamp-data|stamp-train|pip|make|python|lmms-eval|from \w+ import|import) "
    assert [name(page) for page in pages() if re.search(first, written(name(page)), re.MULTILINE)] == []


def test_readme_is_short_and_its_table_has_every_command() -> None:
    text = README.read_text(encoding="utf-8")
    names = [f"stamp-data {name}" for name in data.COMMANDS] + [f"stamp-train {name}" for name in train.COMMANDS]
    assert [name for name in names if not re.search(rf"^\| `{name}[` ]", text, re.MULTILINE)] == []
    assert len(text.splitlines()) < 150


def test_every_exception_is_of_something_that_stands_there() -> None:
    written_there = [call.text for page in pages() for call in calls(name(page))]
    assert len(written_there) > 100
    assert [part for part in (*NOT_RUN, *ADDED, *REPLACED) if not any(part in text for text in written_there)] == []
    named = set(re.findall(r"tests/[\w/.]*\w", " ".join((*NOT_RUN.values(), *ELSEWHERE.values()))))
    assert len(named) > 10 and [path for path in named if not (ROOT / path).exists()] == []
