"""PhraseCut (VGPhraseCut): tasks of a phrase and the polygons of all that it names, on pictures of Visual Genome.

`refer_<split>.json`, with pictures called `<image_id>.jpg`. A task's phrase names all its instances, and nothing in the picture
if the list of them is empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from stamp_data import numbers
from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.formats import outlines
from stamp_data.sources.formats.core import FormatSource, Pictured, Thing
from stamp_data.sources.jsonfile import decode_row, decode_rows

_Outline = list[tuple[float, float]]


class _Task(msgspec.Struct, rename={"polygons": "Polygons"}):
    image_id: int | str
    phrase: str
    polygons: msgspec.Raw
    task_id: str | int | None = None


class PhraseCut(FormatSource):
    dataset = "phrasecut"
    licence = "that of PhraseCut; pictures: Visual Genome, CC BY 4.0"
    homepage = "https://github.com/ChenyunWu/PhraseCutDataset"
    numbered = True
    format = "PhraseCut"
    usual_folders = (*FormatSource.usual_folders, "VG_100K", "VG_100K_2", "vg/VG_100K", "vg/VG_100K_2")
    marks = (b'"phrase"', b'"Polygons"')

    def pictures(self, document: list[msgspec.Raw], path: Path, rejects: RejectLog) -> Iterator[Pictured]:
        rows = ((f"[{position}]", raw) for position, raw in enumerate(document))
        for place, task in decode_rows(rows, _Task, "bad-annotation", self.name_of(path), rejects, expressions=1):
            record = place if task.task_id is None else f"task {task.task_id}"
            thing = Thing(record, [task.phrase]).take(_segmentation, task.polygons)
            identity = numbers.name(task.image_id)
            yield Pictured(record, [f"{identity}.jpg"], [thing], id=identity)


def _segmentation(raw: msgspec.Raw) -> msgspec.Raw | None:
    parts = decode_row(raw, list[list[_Outline]], "bad-shape")
    return outlines.polygons(outline for instance in parts for outline in instance) if parts else None
