"""`--html`: the gallery as one file that opens from disk and asks nobody for anything."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stamp_data.inspect.concat import ConcatDataset
from stamp_data.inspect.inspection import inspect_sets
from stamp_data.inspect.near import groups_of, hashes_of
from stamp_data.inspect.page import page
from stamp_data.inspect.record_page import View, record_view, thumbnail
from stamp_data.inspect.report import InspectReport
from stamp_data.inspect.search_index import entry
from stamp_data.inspect.selection import DEFAULT, Selection, select
from stamp_data.shards.stores import Location
from stamp_data.tags import TagList
from stamp_data.writing import write_atomic
from stamp_schemas import UsageFault

MOST_IMAGES = 200
PICTURE_BYTES = 18 * 2**20  # of all thumbnails together, as they stand in the file
BYTES_PER_PIXEL = 0.3  # of a photograph at JPEG quality 80, in base64
SMALLEST_SIDE, LARGEST_SIDE = 224, 640  # pixels


@dataclass(frozen=True)
class GallerySummary:
    """What was written. total: records that could have been shown. notice: what was left out, "" if nothing."""

    records: int
    total: int
    bytes: int
    notice: str


def write_gallery(
    paths: Sequence[Location],
    out: Path,
    selection: Selection = DEFAULT,
    *,
    max_images: int = MOST_IMAGES,
    report: InspectReport | None = None,
    tags: Path | None = None,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> GallerySummary:
    """Write a gallery of at most `max_images` records. report: the statistics to show; made from a sample if None.
    tags: a list of tagged records.

    Thumbnails get as large as fits about 25 MB in all, 640 pixels at most. StampError if no record is left to show.
    """
    if max_images < 1:
        raise UsageFault(f"--max-images {max_images} shows nothing", "give 1 or more")
    if report is None:
        report = inspect_sets(paths, selection, progress=progress)
    known = TagList(tags)
    with ConcatDataset(paths) as dataset:
        total = len(dataset)
        wanted = min(max_images, total)
        longest = thumbnail_side(wanted)
        views: dict[int, View] = {}
        for stats in select(dataset, selection, max_images):
            view = record_view(stats, *thumbnail(dataset, stats, longest))
            views[stats.number] = {**view, "entry": entry(stats)}
            progress(len(views), wanted, "gallery")
        progress(len(views), len(views), "gallery")  # a condition may leave fewer than wanted
        hashes = {number: found for number, found in hashes_of(dataset, views) if found is not None}
        near = groups_of(hashes, dataset)
    if not views:
        raise selection.nothing()
    records = [{**view, "near": near.get(number, "")} for number, view in views.items()]
    notice = _notice(len(views), total, max_images, selection.where)
    data = page("file", report, known, records, notice)
    write_atomic(out, data)
    return GallerySummary(len(views), total, len(data), notice)


def thumbnail_side(records: int) -> int:
    """Longest side of the thumbnails, in pixels, so that `records` of them (4:3) take about `PICTURE_BYTES`."""
    side = math.sqrt(PICTURE_BYTES / records / (0.75 * BYTES_PER_PIXEL))
    return round(min(max(side, SMALLEST_SIDE), LARGEST_SIDE))


def _notice(shown: int, total: int, max_images: int, where: str | None) -> str:
    """What the page does not show."""
    if shown == total:
        return ""
    if shown < max_images:
        return f"{shown:,} of {total:,} records match --where {where}"
    return f"{shown:,} of {total:,} records are shown; --max-images shows more, --serve all of them"
