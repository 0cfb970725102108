"""SetCon's JSON lines: a text per picture with the set of masks that it names, whatever the set is made of.

`{"image": …, "text": …, "masks": [RLE or polygons, …], "segments": [{"label": …, "mask_ids": [0, …]}]}`. The text names all
masks that any segment refers to, by their places; without one it names nothing. Labels, which say in the answer what the parts
of the set are, are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from stamp_data.files import UNDECODABLE
from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.formats.core import FormatSource, Pictured, Thing
from stamp_data.sources.jsonfile import BOM, as_utf8, decode_row, decode_rows, read_buffer

HEAD = 64 << 20  # bytes in which the first line ends


class _Segment(msgspec.Struct):
    mask_ids: list[int] = []


class _Line(msgspec.Struct):
    image: str
    text: str
    masks: list[msgspec.Raw]
    segments: list[_Segment]


class SetCon(FormatSource):
    dataset = "setcon"
    homepage = "https://github.com/rookiexiong7/SetCon"
    format = "SetCon"
    suffixes = (".jsonl",)

    @classmethod
    def is_mine(cls, path: Path) -> bool:
        first = bytes(read_buffer(path)[:HEAD]).removeprefix(BOM).lstrip().partition(b"\n")[0]
        try:
            return bool(msgspec.json.decode(first, type=_Line))
        except UNDECODABLE:
            return False

    def read(self, path: Path) -> list[bytes]:
        return bytes(as_utf8(read_buffer(path), path, self.reading.encoding)).split(b"\n")

    def pictures(self, document: list[bytes], path: Path, rejects: RejectLog) -> Iterator[Pictured]:
        lines = ((f"line {number}", msgspec.Raw(line)) for number, line in enumerate(document, 1) if line.strip())
        for record, held in decode_rows(lines, _Line, "bad-annotation", self.name_of(path), rejects, expressions=1):
            yield Pictured(record, [held.image], [Thing(record, [held.text]).take(_union, held)])


def _union(held: _Line) -> msgspec.Raw | None:
    """All masks that segments refer to as one segmentation; None if they refer to none."""
    wanted = dict.fromkeys(place for segment in held.segments for place in segment.mask_ids)
    if held.masks and not held.segments:
        raise RecordFault("bad-annotation", f"no segment says which of its {len(held.masks)} masks are meant")
    parts: list[msgspec.Raw] = []
    for place in wanted:
        if not 0 <= place < len(held.masks):
            raise RecordFault("bad-annotation", f"mask {place} of {len(held.masks)}")
        mask = held.masks[place]
        is_rle = bytes(mask)[:1] == b"{"
        inner: list[msgspec.Raw] = [mask] if is_rle else decode_row(mask, list[msgspec.Raw], "bad-segmentation")
        parts += inner
    return msgspec.Raw(msgspec.json.encode(parts)) if wanted else None
