"""The same scenes as every method sees them: the true mask and each one's own, side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from PIL import Image, ImageDraw
from xxhash import xxh3_64_intdigest

from stamp_data.draw.overlay import with_masks
from stamp_data.draw.palette import COLOURS
from stamp_train.compare import folder as files
from stamp_train.compare.results import lines_of
from stamp_train.compare.work import Plan
from stamp_train.eval.cases import CaseSet, Mask
from stamp_train.eval.scoring import FREE, Line

SIDE = 400  # pixels of a picture's longer side
_TRUTH = "#15181e"
_TEXT, _GAP, _QUALITY = 16, 4, 85


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


def _free(place: Path) -> dict[tuple[str, str, int], Line]:
    lines = lines_of(place)
    return {(line.set, line.id, line.target): line for line in lines if line.variant == FREE and line.score}


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
    return Scene(one.set, one.id, one.expression, ious, _sheet(image, panels))


def _sheet(image: Image.Image, panels: Sequence[tuple[str, Mask, str]]) -> bytes:
    """Pictures in a row, each with its name below."""
    width, height = image.size
    sheet = Image.new("RGB", (len(panels) * (width + _GAP), height + _TEXT), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (name, mask, colour) in enumerate(panels):
        left = number * (width + _GAP)
        sheet.paste(with_masks(image, [mask], [colour]), (left, 0))
        pen.text((left + 2, height + 2), name, fill="black")
    encoded = io.BytesIO()
    sheet.save(encoded, "JPEG", quality=_QUALITY)
    return encoded.getvalue()


def write_sheets(found: Sequence[Scene], out: Path) -> None:
    """As `pictures/00.jpg` and on."""
    folder = out / files.PICTURES
    folder.mkdir(exist_ok=True)
    for number, scene in enumerate(found):
        (folder / f"{number:02d}.jpg").write_bytes(scene.sheet)
