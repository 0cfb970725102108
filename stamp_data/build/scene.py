"""What stands where among the things of a picture, as far as that is beyond doubt: what a question may refer by.

Only boxes of masks are looked at. A relation holds if it is clear by a margin and if no other thing of that name could be meant
by it, even loosely; things of which too little is known count as such that could.
"""

from __future__ import annotations

from dataclasses import dataclass

from stamp_data.instructions.rounds import SPEAKABLE, kind

MARGIN = 0.05  # of the picture's width or height: what lies closer than this is neither left nor right
SIDES = ("left", "right", "above", "below")
OTHER = "other"
_APART = 0.5  # share of the smaller box: those of two things overlap by less

Box = tuple[float, float, float, float]
"""x, y, width and height in pixels, as of COCO."""


@dataclass(frozen=True)
class Thing:
    """One thing that is known to be in a picture.

    name: as the data set calls it, "" if it does not. box: of its mask; None if that is not known, or is of several things.
    """

    name: str
    box: Box | None


UNKNOWN = Thing("", None)  # of which all is possible


@dataclass(frozen=True)
class Scene:
    """All that is known to be in a picture. width, height: of the stored picture. turned: viewers show it in another way."""

    things: dict[str, Thing]
    width: int
    height: int
    turned: bool = False

    def relations(self, name: str, anchor_name: str) -> list[str]:
        """What the thing of id `name` is to the one of id `anchor_name`, and nothing else that may be called the same is:
        `other`, and SIDES.
        """
        thing, anchor = self.things[name], self.things[anchor_name]
        if name == anchor_name or not thing.box or not anchor.box or not SPEAKABLE.fullmatch(thing.name):
            return []
        what = kind(thing.name)
        kinds = {one: kind(other.name) for one, other in self.things.items() if one not in (name, anchor_name)}
        rivals = [self.things[one].box for one, other in kinds.items() if other in ("", what)]
        if not what or None in rivals:
            return []
        same = thing.name.casefold() == anchor.name.casefold()
        found = [OTHER] if same and not rivals and _apart(thing.box, anchor.box) else []
        if self.turned:
            return found
        boxes = [box for box in rivals if box]
        return found + [
            side
            for side in SIDES
            if self._is(side, thing.box, anchor.box) and all(self._is_not(side, box, anchor.box) for box in boxes)
        ]

    def _is(self, side: str, box: Box, anchor: Box) -> bool:
        """Whether all of `box` lies on that side of all of `anchor`, clearly, and further so than across."""
        (_, end), (start, _) = _span(side, box), _span(side, anchor)
        along, across = self._distances(side, box, anchor)
        return end <= start and along >= MARGIN * self._extent(side) and along >= abs(across)

    def _is_not(self, side: str, box: Box, anchor: Box) -> bool:
        """Whether nobody would say so: it lies clearly on the other side, and reaches no further than `anchor`."""
        (start, _), (edge, _) = _span(side, box), _span(side, anchor)
        along, _ = self._distances(side, box, anchor)
        return start >= edge and along <= -MARGIN * self._extent(side)

    def _extent(self, side: str) -> int:
        return self.width if side in SIDES[:2] else self.height

    def _distances(self, side: str, box: Box, anchor: Box) -> tuple[float, float]:
        """From the middle of `box` to that of `anchor`: along the side, positive if it is on it, and across."""
        across = "above" if side in SIDES[:2] else "left"
        return _middle(side, anchor) - _middle(side, box), _middle(across, anchor) - _middle(across, box)


def _span(side: str, box: Box) -> tuple[float, float]:
    """Where a box begins and ends on the way from that side of the picture to the opposite one."""
    x, y, width, height = box
    start, end = (x, x + width) if side in SIDES[:2] else (y, y + height)
    return (start, end) if side in ("left", "above") else (-end, -start)


def _middle(side: str, box: Box) -> float:
    return sum(_span(side, box)) / 2


def _apart(one: Box, other: Box) -> bool:
    """Whether two boxes can hardly be two outlines of one thing."""
    sides = [
        min(one[axis] + one[axis + 2], other[axis] + other[axis + 2]) - max(one[axis], other[axis]) for axis in (0, 1)
    ]
    overlap = max(sides[0], 0) * max(sides[1], 0)
    return overlap < _APART * min(one[2] * one[3], other[2] * other[3])
