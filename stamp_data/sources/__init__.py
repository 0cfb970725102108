"""The raw datasets: one module per family, each turning its files into `Annotation`s and nothing else."""

from __future__ import annotations

import difflib
from pathlib import Path

from stamp_data.sources.base import AS_USUAL, Reading, Source
from stamp_data.sources.coco import COCO
from stamp_data.sources.grefcoco import GRefCOCO
from stamp_data.sources.labelme import LabelMe
from stamp_data.sources.llava import LLaVA
from stamp_data.sources.reasonseg import ReasonSeg
from stamp_data.sources.refer import RefCLEF, RefCOCO, RefCOCOg, RefCOCOPlus
from stamp_schemas import StampError, UsageFault

SOURCES: dict[str, type[Source]] = {
    source.dataset: source
    for source in (RefCOCO, RefCOCOPlus, RefCOCOg, RefCLEF, GRefCOCO, ReasonSeg, LLaVA, COCO, LabelMe)
}


def open_source(name: str, root: Path, split_by: str = "", reading: Reading = AS_USUAL) -> Source:
    """The dataset `name` under `root`. UsageFault for an unknown name or split-by, StampError if its files are missing."""
    if name not in SOURCES:
        near = difflib.get_close_matches(name.lower(), SOURCES, n=1)
        meant = f"did you mean {near[0]}?" if near else f"known: {', '.join(SOURCES)}"
        raise UsageFault(f"no dataset is called {name!r}", meant)
    kind = SOURCES[name]
    if split_by and split_by not in kind.split_bys:
        known = ", ".join(filter(None, kind.split_bys))
        raise UsageFault(f"{name} has no split-by {split_by!r}", f"known: {known}" if known else "leave --split-by out")
    if not root.exists():
        raise StampError(f"{root} does not exist", "--root names the folder that holds the downloads")
    source = kind(root, split_by, reading)
    _ = source.inputs
    return source


__all__ = ["SOURCES", "Reading", "Source", "open_source"]
