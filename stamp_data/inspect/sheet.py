"""`--sheet`: a contact sheet as one PNG; and `--key` with `--out`: one record as one PNG. Equal input gives equal bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stamp_data.draw import Overlay
from stamp_data.draw.overlay import Layer, overlaid
from stamp_data.draw.palette import rgb
from stamp_data.inspect.concat import ConcatDataset
from stamp_data.inspect.flags import FLAGS
from stamp_data.inspect.reading import StatsReader, UnreadableRecord
from stamp_data.inspect.record_stats import DialogueStats, RecordStats
from stamp_data.inspect.selection import DEFAULT, Selection, select
from stamp_data.pixels import encoded, thumbnail
from stamp_data.rle import decode_or_empty
from stamp_data.shards.row import IndexRow
from stamp_data.shards.stores import Location
from stamp_data.text import printable
from stamp_data.writing import write_atomic
from stamp_schemas import StampError, UsageFault

# Pixels: of a sheet, usual height of a picture, of its text, between cells.
WIDTH, FRAME, CAPTION, GAP = 1360, 250, 74, 16
NARROWEST, WIDEST = 0.62, 2.5  # width by height of a cell; a picture beyond them is shown on grey
TALLEST = 360  # pixels: of a picture
MOST_CELLS = 400
SAMPLE_SIDE = 1280  # pixels: widest single picture
INK, QUIET, PAPER, EMPTY = "#1c1f24", "#6b7280", "#ffffff", "#eef0f3"
NO_TARGET = "no target"
BADGES = {"error": "#c2185b", "warning": "#b45309", "info": "#0369a1"}


@dataclass(frozen=True)
class SheetSummary:
    """What was written: size in pixels, and how many records it shows."""

    records: int
    width: int
    height: int


@lru_cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own scalable font, laid out the same way whatever libraries are installed."""
    base = ImageFont.load_default(size)
    if not isinstance(base, ImageFont.FreeTypeFont):
        raise StampError("this Pillow has no FreeType, so it cannot write text", "install Pillow from its wheels")
    return base.font_variant(layout_engine=ImageFont.Layout.BASIC)


def write_sheet(
    paths: Sequence[Location],
    out: Path,
    selection: Selection = DEFAULT,
    *,
    limit: int = 48,
    overlay: Overlay = "mask",
) -> SheetSummary:
    """Write a contact sheet of at most `limit` records as PNG. StampError if none is left to show."""
    if not 0 < limit <= MOST_CELLS:
        raise UsageFault(f"a sheet shows 1 to {MOST_CELLS} records, not {limit}", "the gallery (--html) shows more")
    with ConcatDataset(paths) as dataset:
        chosen = list(select(dataset, selection, limit))
        if not chosen:
            raise selection.nothing()
        width, rows = arranged([_shape(stats.row) for stats in chosen])
        height = sum(row[0].height + CAPTION + GAP for row in rows) + GAP
        sheet = Image.new("RGB", (width, height), PAPER)
        waiting, top = iter(chosen), GAP
        for row in rows:
            for place in row:
                sheet.paste(_cell(dataset, next(waiting), place, overlay), (place.left, top))
            top += row[0].height + CAPTION + GAP
    write_atomic(out, encoded(sheet))
    return SheetSummary(len(chosen), width, height)


class Place(NamedTuple):
    """Where a picture stands in its row, and its size, in pixels."""

    left: int
    width: int
    height: int


def arranged(shapes: Sequence[float]) -> tuple[int, list[list[Place]]]:
    """(width of the sheet, places by row) of pictures of these shapes (width by height), in their order.

    Rows are about equally full, and each is as high as lets it reach from edge to edge; so few pictures that they cannot
    make the sheet narrower.
    """
    total, room = sum(shapes), WIDTH - 2 * GAP
    count = max(1, round(total * FRAME / room))
    reached = np.cumsum(shapes) - np.asarray(shapes) / 2  # the middle of each, so that rows end nearest to their share
    numbers = np.minimum(reached * count / total, count - 1e-9).astype(int)
    rows = [[shape for shape, number in zip(shapes, numbers, strict=True) if number == row] for row in range(count)]
    rows = [row for row in rows if row]
    widest = max(round(TALLEST * sum(row)) + GAP * (len(row) - 1) for row in rows)
    width = min(room, widest)
    return width + 2 * GAP, [_row(row, width) for row in rows]


def _row(shapes: Sequence[float], width: int) -> list[Place]:
    inner = width - GAP * (len(shapes) - 1)
    height = min(inner / sum(shapes), TALLEST)
    edges = np.rint(np.cumsum([0.0, *shapes]) * height).astype(int).tolist()
    return [
        Place(GAP + left + GAP * number, right - left, round(height))
        for number, (left, right) in enumerate(pairwise(edges))
    ]


def _shape(row: IndexRow) -> float:
    return min(max(row.width / row.height, NARROWEST), WIDEST) if row.height else 4 / 3


def write_sample(paths: Sequence[Location], key: str, out: Path, *, overlay: Overlay = "mask") -> SheetSummary:
    """Write one record as PNG: its picture with all targets, its expressions as a legend below."""
    with ConcatDataset(paths) as dataset:
        item = next(StatsReader(dataset, DEFAULT).read([dataset.find(key)]))
        if isinstance(item, UnreadableRecord):
            raise StampError(item.finding.detail)
        picture = _picture(dataset, item, SAMPLE_SIDE)
        if picture is None:
            raise StampError(f"{key} is a conversation without a picture", "`--key` shows it on the terminal")
    drawn = overlaid(picture, _layers(item, range(len(item.record.targets))), overlay)
    legend = _legend(item, drawn.width, overlay)
    sheet = Image.new("RGB", (drawn.width, drawn.height + legend.height), PAPER)
    sheet.paste(drawn, (0, 0))
    sheet.paste(legend, (0, drawn.height))
    write_atomic(out, encoded(sheet))
    return SheetSummary(1, sheet.width, sheet.height)


def _picture(dataset: ConcatDataset, stats: RecordStats, side: int) -> Image.Image | None:
    data = dataset.open(dataset.number_of_set(stats.number)).member(stats.row, "image")
    return thumbnail(data, stats.row.member_name("image"), side) if data else None


def _layers(stats: RecordStats, targets: Sequence[int]) -> list[Layer]:
    image, labels = stats.record.image, stats.labels
    if image is None or labels is None:
        return []
    return [
        Layer(decode_or_empty(stats.record.targets[i].rle, image.height, image.width), rgb(stats.colours[i]), labels[i])
        for i in targets
    ]


def _cell(dataset: ConcatDataset, stats: RecordStats, place: Place, overlay: Overlay) -> Image.Image:
    first = stats.shown[0]
    cell = Image.new("RGB", (place.width, place.height + CAPTION), PAPER)
    draw = ImageDraw.Draw(cell)
    draw.rectangle((0, 0, place.width - 1, place.height - 1), fill=EMPTY)
    try:
        picture = _picture(dataset, stats, max(place.width, place.height))
    except StampError:
        draw.text((12, 12), "picture cannot be read", QUIET, font(14))
        picture = None
    if picture is not None:
        scale = min(place.width / picture.width, place.height / picture.height)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        drawn = overlaid(picture.resize(size, Image.Resampling.LANCZOS), _layers(stats, first.targets), overlay)
        cell.paste(drawn, ((place.width - drawn.width) // 2, (place.height - drawn.height) // 2))
    _badges(draw, stats.codes(first))
    if first.kind == "no_target":
        _tag(draw, (8, place.height - 27), NO_TARGET, QUIET)
    _caption(draw, stats, first, place)
    return cell


def _caption(draw: ImageDraw.ImageDraw, stats: RecordStats, dialogue: DialogueStats, place: Place) -> None:
    for number, line in enumerate(fitted(dialogue.text, place.width - 4, 2, font(15))):
        draw.text((2, place.height + 6 + 20 * number), line, INK, font(15))
    more = len({one.twin for one in stats.dialogues}) - 1
    extra = f"  +{more} more" if more else ""
    key = fitted(f"{stats.record.key}{extra}", place.width - 4, 1, font(11))[0]
    draw.text((2, place.height + 52), key, QUIET, font(11))


def _badges(draw: ImageDraw.ImageDraw, codes: list[str]) -> None:
    x = 8
    for code in codes[:4]:
        x = _tag(draw, (x, 8), code.removeprefix("STP-"), BADGES[FLAGS[code].severity]) + 6


def _tag(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, colour: str) -> int:
    """A word on a coloured ground; where it ends."""
    (x, y), end = at, at[0] + int(font(12).getlength(text)) + 12
    draw.rounded_rectangle((x, y, end, y + 19), 5, fill=colour)
    draw.text((x + 6, y + 3), text, "#ffffff", font(12))
    return end


def _legend(stats: RecordStats, width: int, overlay: Overlay) -> Image.Image:
    """Key and expressions, each with the colours of its targets; with the diff overlay also the IoU that is kept."""
    shown = [dialogue for dialogue in stats.dialogues if dialogue.twin == dialogue.index]
    legend = Image.new("RGB", (width, 40 + 24 * len(shown)), PAPER)
    draw = ImageDraw.Draw(legend)
    draw.text((10, 8), fitted(stats.record.key, width - 20, 1, font(13))[0], QUIET, font(13))
    for number, dialogue in enumerate(shown):
        x, y = 10, 34 + 24 * number
        for target in dialogue.targets:
            draw.rounded_rectangle(
                (x, y + 3, x + 12, y + 15), 3, fill=stats.colours[target] if stats.targets[target].area else EMPTY
            )
            x += 18
        note = f"  {NO_TARGET}" if dialogue.kind == "no_target" else ""
        note += f"  IoU {dialogue.iou:.3f}" if overlay == "diff" and dialogue.area else ""
        room = width - x - 14 - int(font(15).getlength(note))
        draw.text((x + 4, y), fitted(dialogue.text, room, 1, font(15))[0] + note, INK, font(15))
    return legend


def fitted(text: str, width: int, lines: int, style: ImageFont.FreeTypeFont) -> list[str]:
    """`text` in at most `lines` lines of `width` pixels, words kept whole where they fit, an ellipsis where it is cut."""
    words, made = printable(text)[:1000].split(), [""]
    for word in words or [""]:
        joined = f"{made[-1]} {word}".strip()
        if made[-1] and style.getlength(joined) > width:
            if len(made) == lines:
                made[-1] = _cut(joined, width, style)
                return made
            made.append(word)
        else:
            made[-1] = joined
    return [line if style.getlength(line) <= width else _cut(line, width, style) for line in made]


def _cut(text: str, width: int, style: ImageFont.FreeTypeFont) -> str:
    while text and style.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"
