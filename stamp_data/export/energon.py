"""Energon (Megatron's loader): its side files beside the very shards, which it reads as they are.

    <set>/.nv-meta/dataset.yaml     how samples are read: as a CrudeWebdataset, the members of a record by their extensions
    <set>/.nv-meta/split.yaml       the shards of each split
    <set>/.nv-meta/.info.yaml       how many samples each shard has
    <set>/<split>/shard-….tar       links to the shards' own bytes on the same file system, else copies
    <set>/<split>/shard-….tar.idx   where each sample begins

Sets behind a URL have no shards here that could be linked to.
"""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path

from stamp_data.export.base import Format, Place
from stamp_data.export.report import Tally
from stamp_data.shards import tar
from stamp_data.shards.index import IndexRow
from stamp_data.shards.reader import Loaded
from stamp_data.writing import json_text
from stamp_schemas import StampError

META = ".nv-meta"
DATASET = "__module__: megatron.energon\n__class__: CrudeWebdataset\n"


class Energon(Format):
    name = "energon"
    notes = ("shards are links to those of the set where the file system has them: leave both as they are",)

    def __init__(self, out: Path, tally: Tally, polygons: bool) -> None:
        super().__init__(out, tally, polygons)
        self._parts: dict[str, dict[str, list[str]]] = {}
        self._counts: dict[str, dict[str, int]] = {}
        self._left_out: dict[str, list[str]] = {}

    def begin(self, place: Place) -> None:
        if not Path(place.shards.place).is_dir():
            raise StampError(
                f"{place.shards.place}: its shards are not on this machine", "copy the set, then export it"
            )
        self._place = place
        self._kept: set[str] = set()

    def add(self, loaded: Loaded) -> None:
        self._kept.add(loaded.row.key)
        self.tally.hold(**self.counted(loaded))

    def end(self) -> None:
        """Link the shards of the set, and note what is in each."""
        place = self._place
        folder = self.out / place.dataset / place.split
        folder.mkdir(parents=True)
        rows: dict[str, list[IndexRow]] = {}
        for row in place.shards.rows:
            rows.setdefault(row.shard, []).append(row)
        names = self._parts.setdefault(place.dataset, {}).setdefault(place.split, [])
        counts, left_out = self._counts.setdefault(place.dataset, {}), self._left_out.setdefault(place.dataset, [])
        for shard, held in rows.items():
            name = f"{place.split}/{shard}"
            _link(Path(place.shards.place) / shard, folder / shard)
            (folder / f"{shard}.idx").write_bytes(_offsets(held))
            names.append(name)
            counts[name] = len(held)
            left_out += (f"{name}/{row.row}" for row in held if row.key not in self._kept)

    def finish(self) -> None:
        """Write the side files, as JSON, which YAML reads as it is."""
        for dataset, parts in self._parts.items():
            meta = self.out / dataset / META
            meta.mkdir()
            (meta / "dataset.yaml").write_text(DATASET, encoding="utf-8")
            split = {"split_parts": parts, "exclude": self._left_out[dataset]}
            (meta / "split.yaml").write_bytes(json_text(split))
            (meta / ".info.yaml").write_bytes(json_text({"shard_counts": self._counts[dataset]}))


def _link(shard: Path, place: Path) -> None:
    try:
        os.link(shard.resolve(), place)  # of a link, as the hub's cache has them, what it leads to
    except OSError:  # another file system, or one without links
        shutil.copyfile(shard, place)


def _offsets(rows: list[IndexRow]) -> bytes:
    """Where the first member's header of each sample begins, and where the last sample ends: 64 bits each."""
    begins = [min(row.span(member)[0] for member in row.members) - tar.BLOCK for row in rows]
    last = max((offset + size for offset, size, _ in map(rows[-1].span, rows[-1].members)))
    return struct.pack(f"<{len(rows) + 1}Q", *begins, last + len(tar.padding(last)))
