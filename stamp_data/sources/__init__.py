"""The raw datasets: one module per family, each turning its files into `Annotation`s and nothing else."""

from __future__ import annotations

import difflib
from pathlib import Path

from stamp_data.sources.base import AS_USUAL, Reading, Source
from stamp_data.sources.coco import COCO
from stamp_data.sources.formats.ade20k import ADE20K
from stamp_data.sources.formats.annotated import Annotated
from stamp_data.sources.formats.coco_stuff import COCOStuff
from stamp_data.sources.formats.cvat import CVAT
from stamp_data.sources.formats.label_studio import LabelStudio
from stamp_data.sources.formats.lvis import LVIS
from stamp_data.sources.formats.mask_table import MaskTable
from stamp_data.sources.formats.pascal_part import PascalPart
from stamp_data.sources.formats.phrasecut import PhraseCut
from stamp_data.sources.formats.reasonseg_parquet import ReasonSegParquet
from stamp_data.sources.formats.refcoco_parquet import RefCOCOParquet
from stamp_data.sources.formats.sa1b import SA1B
from stamp_data.sources.formats.sa2va import Sa2VA
from stamp_data.sources.formats.saco import SACo
from stamp_data.sources.formats.setcon import SetCon
from stamp_data.sources.formats.via import VIA
from stamp_data.sources.formats.yolo import YOLO
from stamp_data.sources.labelme import LabelMe
from stamp_data.sources.llava import LLaVA
from stamp_data.sources.own_refer import OWN, own_set, own_sets
from stamp_data.sources.reasonseg import ReasonSeg
from stamp_data.sources.refer import GRefCOCO, RefCLEF, RefCOCO, RefCOCOg, RefCOCOPlus
from stamp_schemas import StampError, UsageFault

SOURCES: dict[str, type[Source]] = {
    source.dataset: source
    for source in (
        RefCOCO, RefCOCOPlus, RefCOCOg, RefCLEF, GRefCOCO, ReasonSeg, LLaVA, COCO, LabelMe, Annotated,
        LabelStudio, CVAT, MaskTable, YOLO, VIA, SACo, RefCOCOParquet, ReasonSegParquet, LVIS, SA1B, Sa2VA, SetCon, PhraseCut,
        ADE20K, COCOStuff, PascalPart,
    )
}  # fmt: skip


def open_source(name: str, root: Path, split_by: str = "", reading: Reading = AS_USUAL, own_name: str = "") -> Source:
    """The dataset `name` under `root`. UsageFault for an unknown name or split-by, StampError if its files are missing.

    own_name: of a set of one's own in REFER's format, which is opened as `refer`, or by its name if it is there.
    """
    kind = _kind(name, root, own_name)
    if split_by and split_by not in kind.split_bys:
        known = ", ".join(filter(None, kind.split_bys))
        raise UsageFault(
            f"{kind.dataset} has no split-by {split_by!r}", f"known: {known}" if known else "leave --split-by out"
        )
    if not root.exists():
        raise UsageFault(f"{root} does not exist", "--root names the folder that holds the downloads")
    source = kind(root, split_by, reading)
    try:
        _ = source.inputs
    except StampError as fault:
        from stamp_data.sources.foreign import explained

        raise (explained(fault, root, kind.format) if kind.own or root.is_file() else fault) from None
    return source


def _kind(name: str, root: Path, own_name: str) -> type[Source]:
    if own_name and name != OWN:
        raise UsageFault(f"--name {own_name} is for {OWN}, not for {name}", f"{OWN} --name {own_name}")
    if name == OWN:
        if own_name in SOURCES:
            raise UsageFault(f"{own_name} is no set of your own", f"build {own_name} without --name")
        return own_set(own_name, root)
    if name in SOURCES:
        return SOURCES[name]
    if name in own_sets(root):
        return own_set(name, root)
    near = difflib.get_close_matches(name.lower(), SOURCES, n=1)
    meant = f"did you mean {near[0]}?" if near else f"known: {', '.join(SOURCES)}, {OWN} --name NAME"
    raise UsageFault(f"no dataset is called {name!r}", meant)


__all__ = ["SOURCES", "Reading", "Source", "open_source"]
