"""Taking shard sets elsewhere: to formats of masks and of dialogues, each with an account of what it cannot hold."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

import msgspec

from stamp_data import rle as rles
from stamp_data.build.split import Progress
from stamp_data.export.base import Format, Place
from stamp_data.export.chats import LlamaFactory, OpenAI, Swift
from stamp_data.export.coco import Coco
from stamp_data.export.energon import Energon
from stamp_data.export.hf import HuggingFace
from stamp_data.export.json_png import JsonPng
from stamp_data.export.label_studio import LabelStudio
from stamp_data.export.labelme import LabelMe
from stamp_data.export.masks import Masks
from stamp_data.export.report import LOSSES, Counts, ExportReport, Loss, Tally
from stamp_data.export.saco import SACo
from stamp_data.picture import EXTENSIONS
from stamp_data.shards.reader import Loaded, ShardSet
from stamp_data.shards.row import KEY
from stamp_data.shards.stores import Location
from stamp_schemas import StampError, UsageFault
from stamp_schemas.errors import naming

FORMATS: dict[str, type[Format]] = {
    kind.name: kind
    for kind in (
        JsonPng, Coco, LabelMe, LabelStudio, SACo, Masks, HuggingFace, Energon, Swift, LlamaFactory, OpenAI,
    )
}  # fmt: skip

__all__ = ["FORMATS", "Counts", "ExportReport", "Loss", "check_call", "export_sets"]

_NAME = re.compile(r"([^./\\\0][^/\\\0]*)/([^./\\\0][^/\\\0]*)")


def export_sets(
    places: Sequence[Location],
    to: str,
    out: Path,
    *,
    polygons: bool = False,
    allow_loss: bool = False,
    more: Mapping[str, bytes] = MappingProxyType({}),
    keep: Callable[[Loaded], bool] = lambda _: True,
    progress: Progress = lambda *_: None,
) -> ExportReport:
    """Write the sets at `places` to the new folder `out`, in one of FORMATS; `out` appears whole or not at all.

    polygons: outlines instead of pixels, where the format has both. more: files that the folder gets besides. keep: which
    records to export. UsageFault for an unknown format or an `out` that holds something; StampError for a damaged set, and
    for what the format cannot hold unless `allow_loss` is given, in which case the report and LOSSES in `out` name it.
    """
    check_call(to, out)
    tally = Tally()
    part = out.absolute().with_name(f".{out.absolute().name}.{os.getpid()}.part")
    try:
        with naming(out, part):
            part.mkdir(parents=True)
            writer = FORMATS[to](part, tally, polygons)
            names = _write(places, writer, keep, progress)
            if not tally.found["records"]:
                raise StampError(f"none of the records of {', '.join(names)} was chosen", "nothing was written")
            tally.settle(allow_loss)
            found, written = Counts(**tally.found), Counts(**tally.written)
            report = ExportReport(to, out, names, found, written, tally.losses, list(writer.notes))
            for name, data in {LOSSES: report.lines(), **more}.items():
                if data:
                    (part / name).write_bytes(data)
            part.rename(out.absolute())
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return report


def check_call(to: str, out: Path) -> None:
    """UsageFault for an unknown format, or an `out` that holds something."""
    if to not in FORMATS:
        near = get_close_matches(to, FORMATS, n=1)
        raise UsageFault(
            f"no format is called {to!r}", f"did you mean {near[0]}?" if near else f"known: {', '.join(FORMATS)}"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageFault(f"{out}: is there already", "give a new folder")


def _write(places: Sequence[Location], writer: Format, keep: Callable[[Loaded], bool], progress: Progress) -> list[str]:
    """Every record of every set, in order; returns the names of the sets."""
    names: list[str] = []
    sets = [ShardSet(place) for place in places]
    done, total = 0, sum(map(len, sets))
    for one in sets:
        name = one.manifest.name
        match = _NAME.fullmatch(name)
        if match is None:
            raise StampError(f"{one.place}: the manifest's name {name!r} makes no folder")
        if name in names:
            raise UsageFault(f"{one.place}: another set is called {name} too", "export them to different folders")
        names.append(name)
        with one:
            writer.begin(Place(one, match[1], match[2]))
            for loaded in one:
                if keep(loaded):
                    _check(loaded, one.place)
                    writer.tally.found.update(writer.counted(loaded))
                    writer.add(loaded)
                done += 1
                progress(done, total, f"exporting {name}")
            writer.end()
    writer.finish()
    return names


def _check(loaded: Loaded, place: str) -> None:
    """StampError for a record that no build writes: files are called by its key, and its targets are drawn."""
    row, record, image = loaded.row, loaded.record, loaded.record.image
    masks = [mask for target in record.targets for mask in (target.rle, target.ignore_rle) if mask]
    try:
        if not KEY.fullmatch(row.key) or record.key != row.key:
            raise ValueError("not the key of a record, or of another one")
        if loaded.image is not None and row.image_extension not in EXTENSIONS.values():
            raise ValueError(f"a picture of kind {row.image_extension[:20]!r}")
        if masks and (image is None or loaded.image is None):
            raise ValueError("targets without a picture")
        for mask in masks:
            assert image is not None  # looked at above
            rles.checked_runs(image.height, image.width, mask.size, mask.counts)
        if any(not 0 <= target < len(record.targets) for one in record.dialogues for target in one.targets):
            raise ValueError("a dialogue points at a target that is not there")
        if any(one.masks != len(one.targets) for one in record.dialogues):
            raise ValueError("a dialogue asks for another number of masks than it names")
        if any(len(one.messages) != 2 * len(one.rounds) for one in record.dialogues if one.rounds is not msgspec.UNSET):
            raise ValueError("a dialogue has not two messages to each of its rounds")
    except (ValueError, OverflowError) as fault:
        hint = f"`stamp-data verify {place}` names every fault"
        raise StampError(f"{place}: {row.key[:100]!r}: {fault}", hint) from None
