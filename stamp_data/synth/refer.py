"""The REFER sets refcoco, refcoco+, refcocog and refclef: pickled references to single things.

Format: `refer_seg/<name>/refs(<splitBy>).p`, a protocol-0 pickle of plain containers as the original downloads are, and
`instances.json`, as read by the authors' own interface (github.com/lichengunc/refer). RefCLEF's masks are lists of RLEs.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stamp_data.synth.coco import Entry, Json, write_instances
from stamp_data.synth.phrases import Form, Query, describe
from stamp_data.synth.plan import Family
from stamp_data.synth.scene import Stream, generator
from stamp_data.synth.wording import long, sentence, short

COCO_FOLDER = "refer_seg/images/coco_2014/train2014"
CLEF_FOLDER = "refer_seg/images/saiapr_tc-12"

_ANY_WORDS: tuple[tuple[Form, ...], ...] = (
    ("kind",),
    ("kind",),
    ("side",),
    ("side",),
    ("place",),
    ("size",),
    ("corner",),
    ("beside",),
)
_NO_PLACES: tuple[tuple[Form, ...], ...] = (("kind",), ("size",))
_AT_LENGTH: tuple[tuple[Form, ...], ...] = (
    ("kind",), ("corner",), ("beside",), ("beside",), ("size",),
    ("size", "beside"), ("place", "beside"), ("corner", "beside"),
)  # fmt: skip
_ONE_TEST = {"testA": "test", "testB": "test"}


@dataclass(frozen=True)
class ReferSet:
    """How one set speaks: the conditions and words it uses, how often, and what its splits are called."""

    name: str
    stream: Stream
    forms: tuple[tuple[Form, ...], ...]
    speak: Callable[[Query, np.random.Generator], str]
    refs_per_image: int
    sentences_per_ref: int
    # splitBy -> the picture's role -> the name of the split there, where it differs
    splits: dict[str, dict[str, str]]
    family: Family = "train2014"
    folder: str = COCO_FOLDER
    brief: bool = False  # its speakers say no more than they must, as `describe` has it


SETS: tuple[ReferSet, ...] = (
    ReferSet("refcoco", Stream.REFCOCO, _ANY_WORDS, short, 4, 3, {"unc": {}, "google": _ONE_TEST}),
    ReferSet("refcoco+", Stream.REFCOCO_PLUS, _NO_PLACES, short, 4, 3, {"unc": {}}, brief=True),
    ReferSet("refcocog", Stream.REFCOCOG, _AT_LENGTH, long, 3, 2, {"umd": _ONE_TEST}),
    ReferSet(
        "refclef", Stream.REFCLEF, _ANY_WORDS, short, 4, 1,
        {"unc": {}, "berkeley": {**_ONE_TEST, "testC": "test"}}, "refclef", CLEF_FOLDER,
    ),
)  # fmt: skip


def write_refer(out: Path, wanted: ReferSet, entries: list[Entry], seed: int) -> int:
    """Write one REFER set under `out`; the number of its sentences."""
    entries = [entry for entry in entries if entry.slot.family == wanted.family]
    folder = out / "refer_seg" / wanted.name
    folder.mkdir(parents=True)
    refs = references(wanted, entries, seed)
    for split_by, names in wanted.splits.items():
        renamed = [{**ref, "split": names.get(str(ref["split"]), ref["split"])} for ref in refs]
        (folder / f"refs({split_by}).p").write_bytes(pickle.dumps(renamed, protocol=0))
    write_instances(folder / "instances.json", entries, wanted.name, wanted.folder)
    return sum(len(ref["sentences"]) for ref in refs)


def references(wanted: ReferSet, entries: list[Entry], seed: int) -> list[Json]:
    """The references of a set, split by the picture's role."""
    refs: list[Json] = []
    sent_id = 0
    for entry in entries:
        rng = generator(seed, wanted.stream, entry.slot.index)
        found = 0
        for target in rng.permutation(len(entry.scene.things)).tolist():
            texts = _expressions(wanted, entry, target, rng)
            if not texts:
                continue
            sentences = [sentence(text, sent_id + n, _as_typed(text, rng)) for n, text in enumerate(texts)]
            sent_id += len(texts)
            ref = reference(entry, [target], len(refs), sentences)
            refs.append({**ref, "ann_id": ref["ann_id"][0], "category_id": ref["category_id"][0]})
            found += 1
            if found == wanted.refs_per_image:
                break
    return refs


def _expressions(wanted: ReferSet, entry: Entry, target: int, rng: np.random.Generator) -> list[str]:
    """Up to the set's number of different expressions for one thing."""
    texts: dict[str, None] = {}
    for _ in range(wanted.sentences_per_ref):
        query = describe(entry.scene, target, rng, wanted.forms, brief=wanted.brief)
        if query is not None:
            texts[wanted.speak(query, rng)] = None
    return list(texts)


def _as_typed(text: str, rng: np.random.Generator) -> str:
    """The text with a capital or a full stop, as people typed it before it was cleaned."""
    style = int(rng.integers(4))
    return text if style < 2 else text.capitalize() if style == 2 else f"{text.capitalize()}."


def reference(entry: Entry, meant: list[int], ref_id: int, sentences: list[Json]) -> Json:
    """A reference to any number of things, as gRefCOCO has it; -1 stands for none."""
    annotations = [entry.annotations[i] for i in meant] or [{"id": -1, "category_id": -1}]
    return {
        "sent_ids": [s["sent_id"] for s in sentences],
        "file_name": f"{Path(entry.slot.path).stem}_{annotations[0]['id']}.jpg",
        "ann_id": [a["id"] for a in annotations],
        "ref_id": ref_id,
        "image_id": entry.slot.image_id,
        "split": entry.slot.role,
        "sentences": sentences,
        "category_id": [a["category_id"] for a in annotations],
    }
