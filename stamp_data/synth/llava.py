"""LLaVA-1.5's mixture: conversations about pictures from five sources, and some without a picture.

Format: `llava_v1_5_mix665k.json`, a list of {"id", "image", "conversations"} (github.com/haotian-liu/LLaVA). `<image>`
stands where the picture goes. Spelling is American, as there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stamp_data.synth.coco import Entry, Json
from stamp_data.synth.phrases import (
    SIDES,
    Beside,
    Extreme,
    Kind,
    Query,
    Side,
    kinds_absent,
    kinds_present,
    members,
    select,
)
from stamp_data.synth.scene import Scene, Stream, generator, pick
from stamp_data.synth.wording import NUMBERS, noun, with_article

_TEXT_SHARE = 0.2  # text-only records per picture record
_BRIEFLY = "Answer the question using a single word or phrase."
_SIDE_WORDS: dict[Side, str] = {"left": "to the left of", "right": "to the right of", "top": "above", "bottom": "below"}
_OPPOSITE: dict[Side, Side] = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}
_FURTHEST: dict[Side, str] = {
    "left": "furthest to the left",
    "right": "furthest to the right",
    "top": "closest to the top",
    "bottom": "closest to the bottom",
}
_FACTS: tuple[tuple[str, str], ...] = (
    ("How many corners does a triangle have?", "A triangle has three corners."),
    ("How many sides does a square have?", "A square has four sides of equal length."),
    ("What color do you get when you mix blue and yellow paint?", "Blue and yellow paint give green."),
    ("What color do you get when you mix red and yellow paint?", "Red and yellow paint give orange."),
    ("Does a circle have corners?", "No, a circle has no corners."),
    ("What is a circle that has been stretched called?", "A stretched circle is called an ellipse."),
)


class Turn(NamedTuple):
    """One question with its answer in a word or two and its answer in a sentence."""

    question: str
    word: str
    sentence: str


def write_llava(out: Path, entries: list[Entry], seed: int) -> int:
    """Write the mixture under `out`; the number of its records."""
    entries = [entry for entry in entries if entry.slot.family == "llava"]
    records = [picture_record(entry, generator(seed, Stream.LLAVA, entry.slot.index)) for entry in entries]
    # Text-only records follow the pictures' streams; no picture has an index that high.
    first, count = 1 << 32, max(2, round(_TEXT_SHARE * len(entries)))
    records += [text_record(generator(seed, Stream.LLAVA, first + number)) for number in range(count)]
    order = generator(seed, Stream.LLAVA, 1 << 33).permutation(len(records)).tolist()
    text = json.dumps([records[k] for k in order], indent=2)
    (out / "llava_v1_5_mix665k.json").write_text(text, encoding="utf-8")
    return len(records)


def picture_record(entry: Entry, rng: np.random.Generator) -> Json:
    """A conversation of several turns: in sentences for COCO's pictures, in single words for the others'."""
    in_sentences = entry.slot.role == "coco/train2017"
    turns = _turns(entry.scene, int(rng.integers(2, 5)), rng)
    conversations: list[Json] = []
    for number, (question, word, sentence) in enumerate(turns):
        value = question if in_sentences or number else f"{question}\n{_BRIEFLY}"
        if number == 0:
            value = f"<image>\n{value}" if rng.random() < 0.7 else f"{value}\n<image>"
        conversations += _exchange(value, sentence if in_sentences else word)
    return {"id": Path(entry.slot.path).stem, "image": entry.slot.path, "conversations": conversations}


def text_record(rng: np.random.Generator) -> Json:
    """A conversation without a picture: a fact about shapes or colors, then a sum."""
    a, b = (int(n) for n in rng.integers(2, 50, size=2))
    fact = pick(_FACTS, rng)
    conversations = [*_exchange(*fact), *_exchange(f"What is {a} plus {b}?", f"{a} plus {b} is {a + b}.")]
    letters = "".join(chr(97 + int(k)) for k in rng.integers(26, size=7))
    return {"id": f"{letters}_0", "conversations": conversations}


def _exchange(question: str, answer: str) -> list[Json]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def _turns(scene: Scene, count: int, rng: np.random.Generator) -> list[Turn]:
    """Up to `count` different questions; at least one, as counting always works."""
    turns: dict[str, Turn] = {}
    for ask in [_ASKERS[k] for k in rng.permutation(len(_ASKERS)).tolist()]:
        turn = ask(scene, rng)
        if turn is not None and len(turns) < count:
            turns[turn.question] = turn
    return list(turns.values())


def _count(scene: Scene, rng: np.random.Generator) -> Turn:
    """How many there are of a kind; one time in four there are none."""
    kinds = kinds_absent(scene) if rng.random() < 0.25 else kinds_present(scene)
    kind = pick(kinds, rng)
    count = len(members(scene, kind))
    verb = "is" if count == 1 else "are"
    answer = f"There {verb} {NUMBERS[count] if count else 'no'} {noun(kind, plural=count != 1)} in the picture."
    return Turn(f"How many {noun(kind, plural=True)} are there in the picture?", str(count), answer)


def _color(scene: Scene, rng: np.random.Generator) -> Turn | None:
    kinds = [k for k in kinds_present(scene) if not k.colour and len(members(scene, k)) == 1]
    if not kinds:
        return None
    kind = pick(kinds, rng)
    color = scene.things[min(members(scene, kind))].colour
    return Turn(f"What color is the {noun(kind)}?", color, f"The {noun(kind)} is {color}.")


def _shape(scene: Scene, rng: np.random.Generator) -> Turn | None:
    kinds = [k for k in kinds_present(scene) if not k.shape and len(members(scene, k)) == 1]
    if not kinds:
        return None
    kind = pick(kinds, rng)
    shape = Kind(shape=scene.things[min(members(scene, kind))].shape)
    return Turn(f"What shape is the {noun(kind)}?", noun(shape), f"The {noun(kind)} is {with_article(shape)}.")


def _exists(scene: Scene, rng: np.random.Generator) -> Turn:
    """Whether there is something of a kind; yes and no equally often."""
    there = bool(rng.random() < 0.5)
    kinds = kinds_present(scene) if there else kinds_absent(scene)
    name = with_article(pick(kinds, rng))
    answer = f"Yes, there is {name}." if there else f"No, the picture does not show {name}."
    return Turn(f"Is there {name} in the picture?", "Yes" if there else "No", answer)


def _furthest(scene: Scene, rng: np.random.Generator) -> Turn | None:
    side = pick(SIDES, rng)
    found = select(scene, Query(Kind(), (Extreme(side),)))
    if not found:
        return None
    thing = scene.things[min(found)]
    kind, place = Kind(thing.colour, thing.shape), _FURTHEST[side]
    return Turn(f"Which object is {place}?", noun(kind), f"The object {place} is {with_article(kind)}.")


def _beside(scene: Scene, rng: np.random.Generator) -> Turn | None:
    """Whether one thing is on a certain side of another: true, or clearly the other way round."""
    single = [k for k in kinds_present(scene) if k.shape and k.colour and len(members(scene, k)) == 1]
    if len(single) < 2:
        return None
    kind, anchor = (single[k] for k in rng.choice(len(single), 2, replace=False).tolist())
    for side in SIDES:
        if select(scene, Query(kind, (Beside(side, anchor),))):
            true = bool(rng.random() < 0.5)
            fact = f"the {noun(kind)} is {_SIDE_WORDS[side]} the {noun(anchor)}"
            asked = _SIDE_WORDS[side if true else _OPPOSITE[side]]
            question = f"Is the {noun(kind)} {asked} the {noun(anchor)}?"
            return Turn(question, "Yes" if true else "No", f"{'Yes' if true else 'No'}, {fact}.")
    return None


_ASKERS: tuple[Callable[[Scene, np.random.Generator], Turn | None], ...] = (
    _count, _color, _shape, _exists, _furthest, _beside,
)  # fmt: skip
