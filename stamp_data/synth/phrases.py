"""What can be said of a scene: queries that are evaluated on it, and how to find one that fits.

A `Query` names a kind of thing ("red circle") and may add conditions. `select` evaluates it and answers with the things
it describes, or with None where people might disagree (two things almost equally far left): such a query is never
put into words. Hence every expression is true, and clearly so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stamp_data.synth.scene import COLOURS, Scene, Thing, pick
from stamp_data.synth.shapes import SHAPES

Side = Literal["left", "right", "top", "bottom"]
SIDES: tuple[Side, ...] = ("left", "right", "top", "bottom")
Selection = frozenset[int]
"""Positions in `Scene.things`."""

# How clear a difference must be before it is put into words.
SIZE_RATIO = 1.35  # largest : second largest, by visible and by whole area
EXTREME_GAP = 0.06  # of the picture's width or height, between the first and the second
BESIDE_GAP = 0.09  # of the picture's shorter side, between the centres
PART_IN, PART_NEAR = 1 / 3, 0.45  # of width and height: certainly in that part; not certainly outside it


@dataclass(frozen=True)
class Kind:
    """Things of a colour and a shape; None stands for any."""

    colour: str | None = None
    shape: str | None = None

    def has(self, thing: Thing) -> bool:
        """Whether the thing is of this kind."""
        return self.colour in (None, thing.colour) and self.shape in (None, thing.shape)


@dataclass(frozen=True)
class Extreme:
    """The one of its kind that lies furthest to a side, or is the largest or the smallest."""

    which: Side | Literal["largest", "smallest"]

    def among(self, scene: Scene, kind: Selection) -> Selection | None:
        """The first of a kind in some order, if it is first by every measure that people may have in mind."""
        if len(kind) < 2:
            return None  # "the leftmost star" of a single star would be true but misleading
        things = {i: scene.things[i] for i in kind}
        if self.which in ("largest", "smallest"):
            power = 1 if self.which == "largest" else -1
            visible = _leader({i: thing.area**power for i, thing in things.items()}, ratio=SIZE_RATIO)
            whole = _leader({i: thing.whole_area**power for i, thing in things.items()}, ratio=SIZE_RATIO)
            return frozenset([visible]) if visible is not None and visible == whole else None
        extent = scene.width if self.which in ("left", "right") else scene.height
        centres = {i: _towards(thing.centre, self.which) for i, thing in things.items()}
        edges = {i: _edge(thing, self.which) for i, thing in things.items()}
        first = _leader(centres, gap=EXTREME_GAP * extent)
        # A large thing whose middle lies further in may still reach further out than the first.
        return frozenset([first]) if first is not None and edges[first] >= max(edges.values()) else None


@dataclass(frozen=True)
class Part:
    """Those of a kind at one side of the picture, or in a corner if both are given."""

    vertical: Literal["top", "bottom"] | None = None
    horizontal: Literal["left", "right"] | None = None

    def among(self, scene: Scene, kind: Selection) -> Selection | None:
        inside, near = set(), set()
        for i in kind:
            x, y = scene.things[i].centre
            across = {"left": x / scene.width, "right": 1 - x / scene.width, None: 0}[self.horizontal]
            down = {"top": y / scene.height, "bottom": 1 - y / scene.height, None: 0}[self.vertical]
            if max(across, down) < PART_IN:
                inside.add(i)
            elif max(across, down) < PART_NEAR:
                near.add(i)
        return None if near else frozenset(inside)


@dataclass(frozen=True)
class Beside:
    """Those of a kind on one side of a certain other thing (`top` reads "above")."""

    side: Side
    anchor: Kind

    def among(self, scene: Scene, kind: Selection) -> Selection | None:
        anchors = members(scene, self.anchor)
        if len(anchors) != 1:
            return None
        (anchor,) = anchors
        ax, ay = scene.things[anchor].centre
        # How far the anchor itself reaches to that side: what lies on top of a thing is not beside it.
        reach = _edge(scene.things[anchor], self.side) - _towards((ax, ay), self.side)
        least = max(BESIDE_GAP * min(scene.width, scene.height), reach)
        met = set()
        for i in kind - anchors:
            x, y = scene.things[i].centre
            ahead = _towards((x - ax, y - ay), self.side)
            aside = abs(y - ay) if self.side in ("left", "right") else abs(x - ax)
            if ahead >= max(least, aside):
                met.add(i)
            elif ahead > 0:
                return None  # on that side, but people would rather say another one
        return frozenset(met)


Condition = Extreme | Part | Beside
"""`among`: those of a kind for which it holds; None where that is not beyond doubt."""


@dataclass(frozen=True)
class Query:
    """A kind and conditions that hold all at once."""

    kind: Kind
    conditions: tuple[Condition, ...] = ()


def select(scene: Scene, query: Query) -> Selection | None:
    """The things (positions in `scene.things`) that a query describes; None where that is not beyond doubt."""
    kind = members(scene, query.kind)
    chosen = kind
    for condition in query.conditions:
        met = condition.among(scene, kind)
        if met is None:
            return None
        chosen &= met
    return chosen


def members(scene: Scene, kind: Kind) -> Selection:
    """All things of a kind."""
    return frozenset(i for i, thing in enumerate(scene.things) if kind.has(thing))


def _leader(scores: dict[int, float], gap: float = 0.0, ratio: float = 1.0) -> int | None:
    """Whose score is the highest, if it exceeds the second by a distance and by a factor."""
    first, second = sorted(scores, key=lambda i: -scores[i])[:2]
    ahead = scores[first] - scores[second] >= gap and (ratio == 1.0 or scores[first] >= ratio * scores[second])
    return first if ahead else None


def _edge(thing: Thing, side: str) -> float:
    """How far the visible part reaches towards a side, measured as by `_towards`."""
    left, top, right, bottom = thing.visible.bounds
    return max(_towards((left, top), side), _towards((right, bottom), side))


def _towards(point: tuple[float, float], side: str) -> float:
    """How far a point lies towards a side, in pixels from the origin."""
    return {"left": -point[0], "right": point[0], "top": -point[1], "bottom": point[1]}[side]


Form = Literal["kind", "place", "size", "side", "corner", "beside"]


def describe(
    scene: Scene,
    target: int,
    rng: np.random.Generator,
    forms: Sequence[tuple[Form, ...]],
    *,
    brief: bool = False,
    tries: int = 12,
) -> Query | None:
    """A query that selects exactly `target`, or None where none turned up.

    `forms` lists combinations of conditions to choose from ("kind" adds none); repeats make a combination more likely.
    `brief` speakers seldom name both colour and shape where one of them will do.
    """
    for _ in range(tries):
        form = pick(forms, rng)
        kind = _kind_of(scene.things[target], rng, brief)
        query = Query(kind, tuple(_condition(f, scene, target, rng) for f in form if f != "kind"))
        if select(scene, query) == frozenset([target]) and not _redundant(query):
            return query
    return None


def _redundant(query: Query) -> bool:
    """Whether an anchor is named by the very words of the target ("the star left of the star")."""
    return any(isinstance(c, Beside) and c.anchor == query.kind for c in query.conditions)


def _kind_of(thing: Thing, rng: np.random.Generator, brief: bool) -> Kind:
    """Some words for a thing: colour and shape mostly (if brief, seldom), sometimes one of the two, seldom neither."""
    draw = float(rng.random())
    if brief:
        return Kind(thing.colour if draw < 0.5 else None, thing.shape if draw < 0.1 or draw >= 0.5 else None)
    return Kind(thing.colour if draw < 0.75 else None, thing.shape if draw < 0.55 or 0.75 <= draw < 0.95 else None)


def _condition(form: Form, scene: Scene, target: int, rng: np.random.Generator) -> Condition:
    """A random condition of one form; for sides, corners and neighbours one that has a chance to hold."""
    if form == "place":
        return Extreme(pick(SIDES, rng))
    if form == "size":
        return Extreme("largest" if rng.random() < 0.5 else "smallest")
    x, y = scene.things[target].centre
    if form in ("side", "corner"):
        corner = Part("top" if y < scene.height / 2 else "bottom", "left" if x < scene.width / 2 else "right")
        if form == "corner":
            return corner
        # People say left and right twice as often as above and below.
        return Part(horizontal=corner.horizontal) if rng.random() < 2 / 3 else Part(vertical=corner.vertical)
    others = [i for i in range(len(scene.things)) if i != target]
    anchor = scene.things[pick(others, rng)]
    dx, dy = x - anchor.centre[0], y - anchor.centre[1]
    side: Side = ("left" if dx < 0 else "right") if abs(dx) > abs(dy) else ("top" if dy < 0 else "bottom")
    return Beside(side, Kind(anchor.colour, anchor.shape) if rng.random() < 0.7 else Kind(None, anchor.shape))


def kinds_present(scene: Scene) -> list[Kind]:
    """Every colour, shape and pair of both that occurs, in a fixed order."""
    found = {Kind(c, s) for t in scene.things for c, s in ((t.colour, t.shape), (t.colour, None), (None, t.shape))}
    return _ordered(found)


def kinds_absent(scene: Scene) -> list[Kind]:
    """Pairs of colour and shape that do not occur although one of the two does: the hard kind of "not there"."""
    colours, shapes = {t.colour for t in scene.things}, {t.shape for t in scene.things}
    pairs = {Kind(c, s) for c in COLOURS for s in SHAPES if c in colours or s in shapes}
    return _ordered(pairs - {Kind(t.colour, t.shape) for t in scene.things})


def _ordered(kinds: Iterable[Kind]) -> list[Kind]:
    return sorted(kinds, key=lambda k: (k.colour or "", k.shape or ""))
