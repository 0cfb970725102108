"""gRefCOCO: expressions that mean one thing, several, or none.

Layout: `refer_seg/grefcoco/grefs(unc).json` (or `.p`, which its own loader looks for first) and `instances.json`. A reference
names a list of annotations, whose union is meant; [-1] (or `no_target`) means that nothing in the picture is, and then the
target is the one empty mask of the record.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from stamp_data.sources.faults import RecordFault
from stamp_data.sources.jsonfile import decode_row, load_json, numbered
from stamp_data.sources.refer import ReferSource

_REFERENCE = msgspec.json.Decoder(object)


class GRefCOCO(ReferSource):
    dataset = "grefcoco"
    default_split_by = "unc"
    split_bys = ("unc",)
    licence = "MIT (gRefCOCO); annotations CC BY 4.0 (COCO); pictures under their Flickr licences"
    homepage = "https://github.com/henghuiding/gRefCOCO"
    several = True
    numbered = True
    patterns = ("grefs({}).json", "grefs({}).p")

    def _read_refs(self, path: Path) -> Iterator[object]:
        if path.suffix == ".p":
            yield from super()._read_refs(path)
            return
        for _, raw in numbered(load_json(path, list[msgspec.Raw], encoding=self.reading.encoding)):
            try:
                yield decode_row(raw, _REFERENCE, "bad-reference")
            except RecordFault as fault:
                yield fault
