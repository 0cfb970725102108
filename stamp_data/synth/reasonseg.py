"""ReasonSeg: a question about a picture, and polygons that answer it.

Format: `reason_seg/ReasonSeg/{train,val,test}/<stem>.jpg` and `.json`, and `explanatory/train.json` with answers in
words (github.com/dvlab-research/LISA).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from stamp_data.synth.coco import Entry, Json, parts
from stamp_data.synth.phrases import Kind
from stamp_data.synth.riddles import RIDDLES, Riddle, doubtful, solve
from stamp_data.synth.scene import Scene, Stream, generator, pick
from stamp_data.synth.wording import listed

_PHRASE_SHARE = 0.3  # of the files: `is_sentence` false
_FLAG_SHARE = 0.1  # of the files also carry a two-point "flag", which is no region
_EXPLAINED_SHARE = 0.6  # of the training questions


def write_reasonseg(out: Path, entries: list[Entry], seed: int) -> int:
    """Write ReasonSeg under `out`; the number of its texts."""
    root = out / "reason_seg" / "ReasonSeg"
    explained: list[Json] = []
    texts = 0
    for entry in entries:
        if entry.slot.family != "reason_seg":
            continue
        rng = generator(seed, Stream.REASON_SEG, entry.slot.index)
        riddle = choose(entry.scene, rng)
        record = annotation(entry, riddle, rng)
        texts += len(record["text"])
        picture = out / entry.slot.path
        picture.with_suffix(".json").write_text(json.dumps(record, indent=2), encoding="utf-8")
        if entry.slot.role == "train" and record["is_sentence"] and rng.random() < _EXPLAINED_SHARE:
            explained.append(explanation(entry, riddle, record["text"][0]))
    (root / "explanatory").mkdir()
    (root / "explanatory" / "train.json").write_text(json.dumps(explained, indent=2), encoding="utf-8")
    return texts


def choose(scene: Scene, rng: np.random.Generator) -> Riddle:
    """A riddle that the scene answers; there is one, as every thing has a colour."""
    fitting = [riddle for riddle in RIDDLES if solve(scene, riddle)]
    fitting += 3 * [riddle for riddle in fitting if doubtful(scene, riddle)]  # or "ignore" would be rare
    return pick(fitting, rng)


def annotation(entry: Entry, riddle: Riddle, rng: np.random.Generator) -> Json:
    """The contents of a picture's JSON file. Training files have all wordings of a question, the others one."""
    is_sentence = bool(rng.random() >= _PHRASE_SHARE)
    texts = list(riddle.questions if is_sentence else riddle.phrases)
    rng.shuffle(texts)
    name = Path(entry.slot.path).name
    things = entry.scene.things
    shapes = [
        _shape(label, outline_points(part), name)
        for label, found in (("target", solve(entry.scene, riddle)), ("ignore", doubtful(entry.scene, riddle)))
        for i in sorted(found)
        for part in parts(things[i].visible)
    ]
    if rng.random() < _FLAG_SHARE:
        corner = [[0.0, 0.0], [round(entry.scene.width / 5, 2), round(entry.scene.height / 5, 2)]]
        shapes.append(_shape("flag", corner, name))
    return {"text": texts if entry.slot.role == "train" else texts[:1], "is_sentence": is_sentence, "shapes": shapes}


def explanation(entry: Entry, riddle: Riddle, query: str) -> Json:
    """An answer in words to one of the picture's questions."""
    things = [entry.scene.things[i] for i in sorted(solve(entry.scene, riddle))]
    outputs = riddle.answer.format(listed([Kind(thing.colour, thing.shape) for thing in things]))
    image = Path(entry.slot.path).name
    return {"query": query, "outputs": outputs, "image": image, "json": image.replace(".jpg", ".json")}


def outline_points(polygon: Any) -> list[list[float]]:
    """A polygon as one closed walk [[x, y], ...] in pixels.

    The format knows no holes: the walk goes to each hole, around it and back the same way, as annotators do. Filled by
    the even-odd rule it leaves the hole out.
    """
    walk = np.asarray(polygon.exterior.coords)[:-1, :2]
    for hole in polygon.interiors:
        inner = np.asarray(hole.coords)[:-1, :2]
        distance = np.linalg.norm(walk[:, None] - inner[None], axis=2)
        at, start = (int(k) for k in np.unravel_index(int(distance.argmin()), distance.shape))
        loop = np.concatenate([inner[start:], inner[: start + 1]])
        walk = np.concatenate([walk[: at + 1], loop, walk[at:]])
    points: list[list[float]] = np.round(walk, 2).tolist()
    return points


def _shape(label: str, points: list[list[float]], image_name: str) -> Json:
    return {
        "label": label,
        "labels": [label],
        "shape_type": "polygon",
        "image_name": image_name,
        "points": points,
        "group_id": None,
        "group_ids": [None],
        "flags": {},
    }
