"""gRefCOCO: expressions for one thing, for several and for none.

Format: `refer_seg/grefcoco/grefs(unc).json` and `instances.json`. A reference is a REFER one whose `ann_id` and
`category_id` are lists; [-1] where nothing is meant (github.com/henghuiding/gRefCOCO).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from stamp_data.synth.coco import Entry, Json, write_instances
from stamp_data.synth.phrases import SIDES, Beside, Form, Kind, Query, describe, kinds_absent, kinds_present, select
from stamp_data.synth.refer import COCO_FOLDER, reference
from stamp_data.synth.scene import Scene, Stream, generator, pick
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
    write_instances(folder / "instances.json", entries, "gRefCOCO", COCO_FOLDER)
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
            said_so = [{**sentence(text, len(refs)), "exist": bool(meant)}]
            refs.append({**reference(entry, sorted(meant), len(refs), said_so), "no_target": not meant})
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
    anchor = pick(anchors, rng)
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
    return short(Query(pick(absent, rng)), rng), frozenset()


def none_beside(scene: Scene, rng: np.random.Generator) -> Said | None:
    """Things that are there, but not where the words say."""
    present = [kind for kind in kinds_present(scene) if kind.colour and kind.shape]
    for _ in range(8):
        kind, anchor = (present[k] for k in rng.integers(len(present), size=2).tolist())
        query = Query(kind, (Beside(pick(SIDES, rng), anchor),))
        if kind != anchor and select(scene, query) == frozenset():
            return short(query, rng), frozenset()
    return None
