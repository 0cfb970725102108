"""gRefCOCO: expressions for one thing, for several and for none.

Format: `refer_seg/grefcoco/grefs(unc).json` and `instances.json`. A reference is a REFER one whose `ann_id` and
`category_id` are lists; [-1] where nothing is meant (github.com/henghuiding/gRefCOCO).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from stamp_data.synth.coco import Entry, Json, instances
from stamp_data.synth.phrases import SIDES, Beside, Form, Kind, Query, describe, kinds_absent, kinds_present, select
from stamp_data.synth.refer import COCO_FOLDER
from stamp_data.synth.scene import Scene, Stream, generator
from stamp_data.synth.wording import noun, sentence, several, short

Said = tuple[str, frozenset[int]]  # a text and the things it means

_FORMS: tuple[tuple[Form, ...], ...] = (("kind",), ("kind",), ("side",), ("place",), ("size",), ("beside",))


def write_grefcoco(out: Path, entries: list[Entry], seed: int) -> int:
    """Write gRefCOCO under `out`; the number of its sentences."""
    entries = [entry for entry in entries if entry.slot.family == "train2014"]
    folder = out / "refer_seg" / "grefcoco"
    folder.mkdir(parents=True)
    refs = references(entries, seed)
    (folder / "grefs(unc).json").write_text(json.dumps(refs), encoding="utf-8")
    text = json.dumps(instances(entries, "Rendered scenes in the format of gRefCOCO", COCO_FOLDER))
    (folder / "instances.json").write_text(text, encoding="utf-8")
    return sum(len(ref["sentences"]) for ref in refs)


def references(entries: list[Entry], seed: int) -> list[Json]:
    """The references of all pictures: two ways to mean one thing, up to three to mean several, two to mean none."""
    refs: list[Json] = []
    for entry in entries:
        rng = generator(seed, Stream.GREFCOCO, entry.slot.index)
        said: dict[str, frozenset[int]] = {}
        for say in (_one, _one, _all_of, all_beside, pair, _none_of, none_beside):
            found = say(entry.scene, rng)
            if found is not None:
                said.setdefault(*found)
        for text, meant in said.items():
            refs.append(_reference(entry, text, sorted(meant), len(refs)))
    return refs


def _one(scene: Scene, rng: np.random.Generator) -> Said | None:
    target = int(rng.integers(len(scene.things)))
    query = describe(scene, target, rng, _FORMS)
    return (short(query, rng), frozenset([target])) if query else None


def _all_of(scene: Scene, rng: np.random.Generator) -> Said | None:
    """All things of a kind: "both circles", "all blue objects"."""
    return _several(scene, [Query(kind) for kind in kinds_present(scene)], rng)


def all_beside(scene: Scene, rng: np.random.Generator) -> Said | None:
    """All things on one side of another, "all objects left of the star"; None where there are fewer than two."""
    anchors = [k for k in kinds_present(scene) if k.shape]
    anchor = anchors[int(rng.integers(len(anchors)))]
    return _several(scene, [Query(Kind(), (Beside(side, anchor),)) for side in SIDES], rng)


def _several(scene: Scene, queries: list[Query], rng: np.random.Generator) -> Said | None:
    for k in rng.permutation(len(queries)).tolist():
        meant = select(scene, queries[k])
        if meant is not None and len(meant) >= 2:
            return several(queries[k], len(meant), rng), meant
    return None


def pair(scene: Scene, rng: np.random.Generator) -> Said | None:
    """Two things, each named by itself: "the red circle and the star"."""
    named: list[tuple[Kind, frozenset[int]]] = []
    for kind in kinds_present(scene):
        meant = select(scene, Query(kind))
        if kind.shape and meant is not None and len(meant) == 1:
            named.append((kind, meant))
    if len(named) < 2:
        return None
    (kind_a, a), (kind_b, b) = (named[k] for k in rng.choice(len(named), 2, replace=False).tolist())
    return (f"the {noun(kind_a)} and the {noun(kind_b)}", a | b) if a != b else None


def _none_of(scene: Scene, rng: np.random.Generator) -> Said | None:
    """A kind that is not there, though something of its colour or shape is."""
    absent = kinds_absent(scene)
    return short(Query(absent[int(rng.integers(len(absent)))]), rng), frozenset()


def none_beside(scene: Scene, rng: np.random.Generator) -> Said | None:
    """Things that are there, but not where the words say."""
    present = [kind for kind in kinds_present(scene) if kind.colour and kind.shape]
    for _ in range(8):
        kind, anchor = (present[k] for k in rng.integers(len(present), size=2).tolist())
        query = Query(kind, (Beside(SIDES[int(rng.integers(4))], anchor),))
        if kind != anchor and select(scene, query) == frozenset():
            return short(query, rng), frozenset()
    return None


def _reference(entry: Entry, text: str, meant: list[int], ref_id: int) -> Json:
    annotations = [entry.annotations[i] for i in meant]
    anchor = annotations[0]["id"] if annotations else -1
    return {
        "sent_ids": [ref_id],
        "file_name": f"{Path(entry.slot.path).stem}_{anchor}.jpg",
        "ann_id": [a["id"] for a in annotations] or [-1],
        "ref_id": ref_id,
        "image_id": entry.slot.image_id,
        "split": entry.slot.role,
        "sentences": [{**sentence(text, ref_id), "exist": bool(meant)}],
        "category_id": [a["category_id"] for a in annotations] or [-1],
        "no_target": not meant,
    }
