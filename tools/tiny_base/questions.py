"""What is asked of a scene, and what is right: every answer follows from the scene by the rules of `stamp_data.synth`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from stamp_data.instructions import wording
from stamp_data.synth.grefcoco import all_beside, none_beside, pair
from stamp_data.synth.phrases import (
    SIDES,
    SIZE_RATIO,
    Beside,
    Condition,
    Extreme,
    Form,
    Kind,
    Part,
    Query,
    Side,
    describe,
    kinds_absent,
    kinds_present,
    members,
    select,
)
from stamp_data.synth.scene import COLOURS, Scene
from stamp_data.synth.shapes import SHAPES
from stamp_data.synth.wording import long, noun, several, short, with_article
from stamp_schemas.record import SEG

CENTRE = 0.08  # of width and height, from the middle: beyond doubt at the centre
NEIGHBOURS = 0.05  # of the picture's width or height: least distance of what is listed in order
_PARTS = (8, 6)  # of the picture's width and height: as many as it has merged patches
_CLEAR = 0.1  # of a part: least distance of a thing's edge from where the next one begins
_TRIES = 16  # for what is asked by a condition: not every one has one answer
_REQUESTS = wording("paper").phrase
_WORDS: dict[Side, str] = {"left": "to the left of", "right": "to the right of", "top": "above", "bottom": "below"}
_OPPOSITE: dict[Side, Side] = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}


class Question(NamedTuple):
    """form: what it is about, and after a slash how it is asked; text and answer as they are said. boxes: left, top, right and
    bottom of each thing that is spoken of, as fractions of the picture's width and height; none for what is not there, and None
    where a question is about more than that."""

    form: str
    text: str
    answer: str
    boxes: tuple[tuple[float, ...], ...] | None = None


def ask(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """Different questions of every form that the scene has answers to, in random wordings."""
    found: dict[str, Question] = {}
    for form, asker in _ASKERS.items():
        for text, answer, things in asker(scene, rng):
            boxes = None if things is None else tuple(_box(scene, thing) for thing in sorted(things))
            found.setdefault(text, Question(form, text, answer, boxes))
    return list(found.values())


def _box(scene: Scene, thing: int) -> tuple[float, ...]:
    """See `Question.boxes`."""
    left, top, right, bottom = scene.things[thing].visible.bounds
    return left / scene.width, top / scene.height, right / scene.width, bottom / scene.height


def kind_of(form: str) -> str:
    """What a form is about."""
    return form.partition("/")[0]


_REFERRED: tuple[tuple[Form, ...], ...] = (
    ("kind",), ("kind",), ("side",), ("place",), ("place",), ("size",), ("corner",), ("beside",), ("beside",),
)  # fmt: skip

Asked = Iterator[tuple[str, str, Iterable[int] | None]]  # text, answer, and the things that are spoken of


def _single(scene: Scene, kinds: list[Kind]) -> list[tuple[Kind, int]]:
    """Kinds of which there is one thing, and which."""
    found = ((kind, members(scene, kind)) for kind in kinds)
    return [(kind, min(things)) for kind, things in found if len(things) == 1]


def _colour(scene: Scene, _: np.random.Generator) -> Asked:
    for kind, thing in _single(scene, [kind for kind in kinds_present(scene) if not kind.colour]):
        yield f"What color is the {noun(kind)}?", scene.things[thing].colour, [thing]


def _shape(scene: Scene, _: np.random.Generator) -> Asked:
    for kind, thing in _single(scene, [kind for kind in kinds_present(scene) if not kind.shape]):
        yield f"What shape is the {noun(kind)}?", scene.things[thing].shape, [thing]


def _chosen(
    scene: Scene, rng: np.random.Generator, draw: Callable[[list[Kind]], Condition], tries: int = _TRIES
) -> Asked:
    """Color or shape of the one among several of a kind that a condition chooses."""
    kinds = [kind for kind in [Kind(), *kinds_present(scene)] if not (kind.colour and kind.shape)]
    kinds = [
        kind for kind in kinds if len(members(scene, kind)) > 1
    ]  # of a single one, color and shape would be enough
    for _ in range(tries):
        kind = kinds[int(rng.integers(len(kinds)))]
        query = Query(kind, (draw(kinds_present(scene)),))
        chosen = select(scene, query)
        if chosen is None or len(chosen) != 1:
            continue
        number = min(chosen)
        thing = scene.things[number]
        words = short(query, rng).removeprefix("the ")
        if kind.colour or (not kind.shape and rng.random() < 0.5):
            yield f"What shape is the {words}?", thing.shape, [number]
        else:
            yield f"What color is the {words}?", thing.colour, [number]


def _by_extreme(scene: Scene, rng: np.random.Generator) -> Asked:
    return _chosen(scene, rng, lambda _: Extreme(SIDES[int(rng.integers(4))]))


def _by_size(scene: Scene, rng: np.random.Generator) -> Asked:
    return _chosen(scene, rng, lambda _: Extreme("largest" if rng.random() < 0.5 else "smallest"))


def _by_side(scene: Scene, rng: np.random.Generator) -> Asked:
    sides = (Part("top"), Part("bottom"), Part(None, "left"), Part(None, "right"))
    return _chosen(scene, rng, lambda _: sides[int(rng.integers(4))])


def _by_corner(scene: Scene, rng: np.random.Generator) -> Asked:
    corners = (Part("top", "left"), Part("top", "right"), Part("bottom", "left"), Part("bottom", "right"))
    return _chosen(scene, rng, lambda _: corners[int(rng.integers(4))])


def _by_neighbour(scene: Scene, rng: np.random.Generator) -> Asked:
    def draw(kinds: list[Kind]) -> Condition:
        shaped = [kind for kind, _ in _single(scene, kinds) if kind.shape]
        anchor = shaped[int(rng.integers(len(shaped)))] if shaped else Kind()
        return Beside(SIDES[int(rng.integers(4))], anchor)

    return _chosen(scene, rng, draw, 2 * _TRIES)


def place(scene: Scene, thing: int) -> str | None:
    """Where a thing is, in words: a corner, a side, or the center; None where people might disagree."""
    x, y = scene.things[thing].centre
    names = []
    for share, low, high in ((y / scene.height, "top", "bottom"), (x / scene.width, "left", "right")):
        if share < 1 / 3 or share > 2 / 3:
            names.append(low if share < 1 / 3 else high)
        elif abs(share - 0.5) > CENTRE:
            return None
    return " ".join(names) or "center"


def _where(scene: Scene, _: np.random.Generator) -> Asked:
    for kind, thing in _single(scene, kinds_present(scene)):
        where = place(scene, thing)
        if where:
            yield f"Where is the {noun(kind)}?", where, [thing]


def _is_beside(scene: Scene, rng: np.random.Generator) -> Asked:
    single = [kind for kind, _ in _single(scene, kinds_present(scene)) if kind.shape]
    if len(single) < 2:
        return
    for _ in range(_TRIES // 2):
        kind, anchor = (single[k] for k in rng.choice(len(single), 2, replace=False).tolist())
        side = SIDES[int(rng.integers(4))]
        if select(scene, Query(kind, (Beside(side, anchor),))):
            true = bool(rng.random() < 0.5)
            asked = _WORDS[side if true else _OPPOSITE[side]]
            yield f"Is the {noun(kind)} {asked} the {noun(anchor)}?", "Yes" if true else "No", None


def _is_larger(scene: Scene, rng: np.random.Generator) -> Asked:
    single = [(kind, thing) for kind, thing in _single(scene, kinds_present(scene)) if kind.shape]
    if len(single) < 2:
        return
    for _ in range(_TRIES // 2):
        (kind, one), (other, two) = (single[k] for k in rng.choice(len(single), 2, replace=False).tolist())
        a, b = scene.things[one], scene.things[two]
        ratios = (a.area / b.area, a.whole_area / b.whole_area)
        if one != two and (min(ratios) > SIZE_RATIO or max(ratios) < 1 / SIZE_RATIO):
            asked = "larger" if rng.random() < 0.5 else "smaller"
            right = (min(ratios) > 1) == (asked == "larger")
            yield f"Is the {noun(kind)} {asked} than the {noun(other)}?", "Yes" if right else "No", None


def _count(scene: Scene, rng: np.random.Generator) -> Asked:
    present, absent = kinds_present(scene), kinds_absent(scene)
    none = [absent[k] for k in rng.permutation(len(absent))[:2].tolist()]
    for kind in [*present, *none]:
        yield f"How many {noun(kind, plural=True)} are there?", str(len(members(scene, kind))), members(scene, kind)
    yield "How many objects are there?", str(len(scene.things)), range(len(scene.things))


def _absence(scene: Scene, rng: np.random.Generator) -> Asked:
    """As many "no" as "yes" for colors, for shapes, and for pairs of both, of which the absent ones are half there."""
    present = kinds_present(scene)
    pairs = [kind for kind in present if kind.colour and kind.shape]
    yield from _is_there(scene, pairs, kinds_absent(scene), rng)
    for every in ([Kind(colour) for colour in COLOURS], [Kind(None, shape) for shape in SHAPES]):
        yield from _is_there(scene, [k for k in every if k in present], [k for k in every if k not in present], rng)


def _is_there(scene: Scene, present: list[Kind], absent: list[Kind], rng: np.random.Generator) -> Asked:
    count = min(len(present), len(absent), 3)
    for kinds, answer in ((present, "Yes"), (absent, "No")):
        for k in rng.permutation(len(kinds))[:count].tolist():
            yield f"Is there {with_article(kinds[k])} in the picture?", answer, members(scene, kinds[k])


def _description(scene: Scene, _: np.random.Generator) -> Asked:
    for axis, words, extent in ((0, "from left to right", scene.width), (1, "from top to bottom", scene.height)):
        order = sorted(scene.things, key=lambda thing: thing.centre[axis])
        steps = np.diff([thing.centre[axis] for thing in order])
        if steps.min() >= NEIGHBOURS * extent:
            yield f"What is in the picture {words}?", ", ".join(noun(Kind(t.colour, t.shape)) for t in order), None


def _reference(scene: Scene, rng: np.random.Generator) -> Asked:
    """What a phrase means, after it is said again: a sentence has to be followed to its end, whatever words choose."""
    for thing in range(len(scene.things)):
        for speak in (short, short, long):
            query = describe(scene, thing, rng, _REFERRED, brief=bool(rng.random() < 0.5))
            if query is not None:
                sided = any(isinstance(c, Part) and not (c.vertical and c.horizontal) for c in query.conditions)
                phrase = (short if sided else speak)(query, rng)  # long sentences speak of no sides
                yield *_said(phrase, _portrait(scene, thing), rng), [thing]
    for kind in kinds_present(scene):
        things = sorted(members(scene, kind), key=lambda thing: scene.things[thing].centre[0])
        if len(things) > 1:
            told = " and ".join(_portrait(scene, t) for t in things)
            yield *_said(several(Query(kind), len(things), rng), told, rng), things
    absent = kinds_absent(scene)
    for number in rng.permutation(len(absent))[:2].tolist():
        yield *_said(short(Query(absent[number]), rng), "none", rng), []


def _group(scene: Scene, rng: np.random.Generator) -> Asked:
    """What is meant by phrases for several things, and for things that are not where the words say."""
    for say in (pair, all_beside, none_beside, pair, all_beside):
        found = say(scene, rng)
        if found:
            phrase, meant = found
            things = sorted(meant, key=lambda thing: scene.things[thing].centre[0])
            told = " and ".join(_portrait(scene, thing) for thing in things) if things else "none"
            yield *_said(phrase, told, rng), things


def _extent(scene: Scene, rng: np.random.Generator) -> Asked:
    """From which to which part of the picture's width or height a thing reaches; not where it just touches one."""
    for thing, drawn in enumerate(scene.things):
        left, top, right, bottom = drawn.visible.bounds
        across, down = _PARTS
        spans = (
            ("from left to right", left, right, scene.width, across),
            ("from top to bottom", top, bottom, scene.height, down),
        )
        for words, low, high, extent, parts in spans:
            first, last = low / extent * parts, high / extent * parts
            query = describe(scene, thing, rng, _REFERRED, brief=bool(rng.random() < 0.5))
            if query is None or any(abs(edge - round(edge)) < _CLEAR for edge in (first, last)):
                continue
            yield f"Where is {short(query, rng)} {words}?", f"{int(first) + 1} to {int(last) + 1}", [thing]


def _said(phrase: str, answer: str, rng: np.random.Generator) -> tuple[str, str]:
    """Half of the time as people ask for masks, but of a description: the words of such requests are then nothing new."""
    if rng.random() < 0.5:
        return f"Find {phrase}.", f"Here is {phrase}: {answer}"
    asked, said = (_drawn(templates, phrase, rng) for templates in (_REQUESTS.questions, _REQUESTS.answers))
    return asked, f"{said.partition(SEG)[0].rstrip()}: {answer}"


def _drawn(templates: tuple[str, ...], phrase: str, rng: np.random.Generator) -> str:
    text = templates[int(rng.integers(len(templates)))].replace("[class_name]", phrase)
    for mask, words in (
        ("segmentation mask", "description"),
        ("segmentation map", "description"),
        ("segmented", "described"),
    ):
        text = text.replace(mask, words)
    return text.replace("segment", "describe")


def _portrait(scene: Scene, thing: int) -> str:
    """Color, shape, and place where it has one of nine."""
    words = noun(Kind(scene.things[thing].colour, scene.things[thing].shape))
    where = place(scene, thing)
    return f"{words}, {where}" if where else words


_ASKERS: dict[str, Callable[[Scene, np.random.Generator], Asked]] = {
    "colour": _colour,
    "shape": _shape,
    "place/where": _where,
    "place/side": _by_side,
    "place/corner": _by_corner,
    "place/extreme": _by_extreme,
    "size/extreme": _by_size,
    "size/than": _is_larger,
    "count": _count,
    "relation/of": _by_neighbour,
    "relation/is": _is_beside,
    "absence": _absence,
    "description": _description,
    "reference": _reference,
    "extent": _extent,
    "group": _group,
}
FORMS = tuple(_ASKERS)
