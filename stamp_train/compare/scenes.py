"""The same scenes as every method sees them: the true mask and each one's own, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from PIL import Image
from xxhash import xxh3_64_intdigest

from stamp_data.draw.palette import COLOURS
from stamp_data.pixels import encoded
from stamp_train.compare import folder as files
from stamp_train.compare.results import lines_of
from stamp_train.compare.work import Plan
from stamp_train.eval.case_views import Key, key_of
from stamp_train.eval.cases import CaseSet
from stamp_train.eval.sample_images import side_by_side
from stamp_train.eval.scoring import FREE, Line

SIDE = 400  # pixels of a picture's longer side
_TRUTH = "#15181e"


@dataclass(frozen=True)
class Scene:
    """A mask of a case. ious: of each method; sheet: JPEG of all of them beside the true mask."""

    set: str
    id: str
    expression: str
    ious: Mapping[str, float]
    sheet: bytes


def scenes(plan: Plan, names: Sequence[str], seed: int, count: int) -> list[Scene]:
    """So many cases, drawn from all sets by a hash of their names, as methods that have finished with a seed answered."""
    found = {name: _free(plan.place(name, seed)) for name in names}
    if not found:
        return []
    keys = sorted(next(iter(found.values())), key=lambda key: xxh3_64_intdigest("/".join(map(str, key)).encode()))
    sets = {one.name: one for one in plan.asking.sets(plan.resolved.recipe)}
    return [_scene(sets[key[0]], {name: lines[key] for name, lines in found.items()}) for key in keys[:count]]


def _free(place: Path) -> dict[Key, Line]:
    return {key_of(line): line for line in lines_of(place) if line.variant == FREE and line.score}


def _scene(source: CaseSet, lines: Mapping[str, Line]) -> Scene:
    one = next(iter(lines.values()))
    asked = source.load(source.shards.find(one.id.partition("/")[0]))
    case = next(case for case in asked.cases if case.id == one.id)
    assert asked.image is not None  # it has cases
    image = asked.image.copy()
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    panels = [("truth", case.truths[one.target].mask, _TRUTH)]
    panels += [
        (f"{name} {line.iou:.2f}", line.mask(), colour)
        for (name, line), colour in zip(lines.items(), cycle(COLOURS), strict=False)
    ]
    ious = {name: line.iou for name, line in lines.items()}
    sheet = encoded(side_by_side(image, panels), "JPEG", quality=85)
    return Scene(one.set, one.id, one.expression, ious, sheet)


def write_sheets(found: Sequence[Scene], out: Path) -> None:
    """As `pictures/00.jpg` and on."""
    folder = out / files.PICTURES
    folder.mkdir(exist_ok=True)
    for number, scene in enumerate(found):
        (folder / f"{number:02d}.jpg").write_bytes(scene.sheet)
