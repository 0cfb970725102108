"""One's own set in the format of REFER, under whatever name: RRSIS-D and the like.

Layout: `refer_seg/<name>/refs(<splitBy>).p` and `instances.json`; pictures below `refer_seg/images/<name>`, in the set's own
folder, or among COCO's. A reference may name several annotations, or none, as in gRefCOCO.
"""

from __future__ import annotations

import re
from pathlib import Path

from stamp_data.sources.refer import COCO_FOLDERS, ReferSource, folder_of
from stamp_schemas import UsageFault

OWN = "refer"  # name on the command line, beside which --name stands
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]{0,39}", re.ASCII)
_REFS = re.compile(r"refs\((.{1,40})\)\.p")


class OwnRefer(ReferSource):
    dataset = OWN
    several = True
    licence = "that of the data"
    homepage = ""
    own = True


def own_set(name: str, root: Path) -> type[OwnRefer]:
    """The source of the set `name`; its ways of splitting are those that are there. UsageFault if it cannot be a name."""
    if not _NAME.fullmatch(name):
        there = ", ".join(own_sets(root)) or "none"
        raise UsageFault(f"{OWN} needs --name, of letters, digits, _, + and -", f"sets found under {root}: {there}")
    split_bys = _split_bys(root / folder_of(root, name))
    first = "unc" if "unc" in split_bys or not split_bys else split_bys[0]
    folders = (
        f"images/{name}/JPEGImages",
        f"images/{name}",
        f"{name}/JPEGImages",
        f"{name}/images",
        *COCO_FOLDERS,
        "images",
    )
    own = {
        "dataset": name,
        "split_bys": tuple(split_bys) or (first,),
        "default_split_by": first,
        "image_folders": folders,
        "__doc__": OwnRefer.__doc__,
    }
    return type("OwnRefer", (OwnRefer,), own)


def own_sets(root: Path, known: tuple[str, ...] = ()) -> list[str]:
    """Names of the folders under a root that look like sets in REFER's format, besides the known ones."""
    base = root / "refer_seg" if (root / "refer_seg").is_dir() else root
    if not base.is_dir():
        return []
    names = sorted(path.name for path in base.iterdir() if _NAME.fullmatch(path.name) and path.name not in known)
    return [name for name in names if _split_bys(base / name)]


def _split_bys(folder: Path) -> list[str]:
    if not (folder / "instances.json").is_file():
        return []
    found = (_REFS.fullmatch(path.name) for path in folder.glob("refs(*).p"))
    return sorted(match[1] for match in found if match)
