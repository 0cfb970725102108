"""Readers of what annotating leaves: files of annotations and their journals, patches of reviews, what SAM saw."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch
from msgspec.structs import replace

from stamp_data.annotate.begin import begin_from
from stamp_data.annotate.change import Change
from stamp_data.annotate.images import Images
from stamp_data.annotate.review import write_patch
from stamp_data.annotate.store import Store
from stamp_data.patches import MISFIT
from stamp_data.shards.rejects import read_rejects
from stamp_schemas.annotated import DrawnMask, SaidPhrase
from stamp_train.predict.pointing import Embeddings

from ..stamp_data.annotate.making import box, image, mask, said
from ..stamp_data.raw import PICTURES, Raw, build, picture
from .harness import PART, WHOLE, Reader
from .mutations import BYTES, TEXT

SHAPES = ((1, 4, 8, 8), (1, 2, 4, 4))


def annotated(folder: Path) -> Store:
    """A picture with a phrase that was changed, undone and accepted."""
    store = Store(folder, "Ada")
    store.change(image(), 0, Change({"p1": said()}, {"m1": mask()}))
    store.change(image(), 1, Change({"p1": said(text="the cup")}, {"m2": mask("m2", (0, 0, 5, 5))}))
    store.undo(image(), 2)
    store.change(image(), 3, Change({"p1": said(status="accepted"), "p2": said("p2", "a cow", (), nothing="absent")}))
    return store


def timeless(path: Path) -> Path:
    """The file as if it had been written at one moment: the same inputs are to come every time."""
    path.write_bytes(re.sub(rb'"at":"[^"]*"', b'"at":"2026-11-30T09:14:02Z"', path.read_bytes()))
    return path


def write_file(root: Path) -> Path:
    return timeless(annotated(root).file("a.jpg"))


def read_file(path: Path) -> str:
    """Opened as the page opens it, and changed."""
    damaged = path.read_bytes()
    store = Store(path.parent, "Bob")
    document = store.open(image()).document
    store.change(image(), document.revision, Change({"p9": said("p9", "another", ())}))
    path.write_bytes(damaged)
    return WHOLE


def write_journal(root: Path) -> Path:
    annotated(root)
    return timeless(root / ".journal/a.jpg.jsonl")


def read_journal(path: Path) -> str:
    """Whatever the journal holds, the file beside it stands, unless the journal goes on from there."""
    damaged, file = path.read_bytes(), path.parents[1] / "a.jpg.json"
    before = file.read_bytes()
    try:
        store = Store(path.parents[1], "Bob")
        opened = store.open(image())
        assert opened.document.revision >= 4
        while opened.journal.undoable:
            opened = store.undo(image(), opened.document.revision)
        return WHOLE if path.exists() and path.read_bytes().startswith(damaged) else PART
    finally:
        file.write_bytes(before)
        path.with_name(f"{path.name}.old").unlink(missing_ok=True)


def write_fixes(root: Path) -> Path:
    """A review of two records: a mask drawn anew, a phrase said otherwise, two that are new."""
    raw = Raw(root / "data")
    for number in (1, 2):
        raw.image(number, picture(shade=20 * number, mode="L"))
        raw.ref(number, f"the thing {number}", "the grey one")
    build(raw.save(), root / "shards")
    images, store = Images(root / "data" / PICTURES), Store(root / "annotations", "Ada")
    begin_from([str(root / "shards")], images, store)
    for number in (0, 1):
        document = store.open(images.file(number)).document
        first, second = (replace(one, status="accepted") for one in document.phrases)
        phrases = [
            replace(first, text="another thing"),
            second,
            SaidPhrase("p8", "a cow", nothing="absent", status="accepted"),
        ]
        drawn = replace(document.masks[0], rle=box(3, 5, 30, 17))
        new = SaidPhrase("p9", "a saucer", ["m9"], status="accepted")
        masks = {drawn.id: drawn, "m9": DrawnMask("m9", box(50, 30, 60, 40), categories=["saucer"])}
        store.change(document.image, document.revision, Change({one.id: one for one in [*phrases, new]}, {**masks}))
    write_patch(root / "annotations", root / "fixes.jsonl")
    return root / "fixes.jsonl"


def read_fixes(path: Path) -> str:
    """A build with the patch, whose every change is made, or is a row."""
    out = path.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    (built,) = build(path.parent / "data", out, patches=(path,))
    return PART if MISFIT in {row.reason for row in read_rejects(built.folder / "rejects.jsonl")} else WHOLE


def write_seen(root: Path) -> Path:
    numbers = torch.arange(256, dtype=torch.float16)
    Embeddings(root).put("seen", [numbers.view(SHAPES[0]), numbers[:32].clone().view(SHAPES[1])])
    return root / "seen.safetensors"


def read_seen(path: Path) -> str:
    """As they were, or not at all: whoever asked looks again."""
    found = Embeddings(path.parent).get("seen", SHAPES)
    if found is None:
        return PART
    assert torch.equal(found[0].view(-1), torch.arange(256, dtype=torch.float16))
    assert torch.equal(found[1].view(-1), torch.arange(32, dtype=torch.float16))
    return WHOLE


READERS = [
    Reader("annotations, opened", write_file, read_file, TEXT, 200),
    Reader("journal of annotations", write_journal, read_journal, TEXT, 200),
    Reader("patch", write_fixes, read_fixes, TEXT, 50),
    Reader("what SAM saw", write_seen, read_seen, BYTES, 200),
]
