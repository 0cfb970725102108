"""Names from annotation files turned into paths that cannot leave the root, as far as the name alone tells; splits by names."""

from __future__ import annotations

import re
from pathlib import Path

from stamp_data.shards.rejects import storable
from stamp_data.sources.faults import RecordFault

_DRIVE = re.compile(r"[A-Za-z]:")
_LONGEST = 255  # bytes of one part, as on every usual file system
WORD = re.compile(r"(?<![a-z])(train|val|testA|testB|testC|test|dev|minival)(?:id|idation|ing)?(\d{4})?(?![a-z])")
"""The split (group 1) and the year that may follow it, within a name such as `instances_val2017`."""


def image_path(folder: str, name: str, up: bool = False) -> str:
    """Posix path `folder/name`, relative to the root; RecordFault `path-escape` if `name` is not a plain relative path.

    up: it may go up with `..`, as long as it stays in the root. Links are not looked at: the build checks them when it opens
    the file.
    """
    if name.startswith(("/", "\\")) or _DRIVE.match(name):
        raise RecordFault("path-escape", f"image path {name[:100]!r} is absolute")
    parts = name.replace("\\", "/").split("/")
    plain = folder.split("/") if folder else []
    for part in parts:
        if part == "..":
            if not up or not plain:
                raise RecordFault("path-escape", f"image path {name[:100]!r} leaves the root")
            plain.pop()
        elif part not in ("", "."):
            plain.append(part)
    long = any(len(part.encode("utf-8", "replace")) > _LONGEST for part in plain)
    if parts[-1] in ("", ".", "..") or not name.isprintable() or long or len(name) > 4 * _LONGEST:
        raise RecordFault("path-escape", f"image path {name[:100]!r} is no file name")
    found = "/".join(plain)
    if storable(found) != found:
        raise RecordFault(
            "path-escape", f"image path {storable(found)[:100]!r} is no text: rename the file or its folder"
        )
    return found


def is_plain(name: str) -> bool:
    """Whether a file of that name stays in the folder that it is put into, and any file can hold the name."""
    try:
        return image_path("", name) == name
    except RecordFault:
        return False


def inner_path(name: str) -> str:
    """What is left of a path from elsewhere that could lie in some other folder: no drive, no root, no way up."""
    parts = _DRIVE.sub("", name).replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))


def relative(path: Path, root: Path) -> str:
    """How rows and records name a file: relative to the root where it lies under it."""
    return storable(path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name)


def first_folder(root: Path, candidates: tuple[str, ...]) -> str:
    """The first of `candidates` that is a folder under `root`, else the first one, which then is reported as missing."""
    return next((name for name in candidates if (root / name).is_dir()), candidates[0])


def split_of_folders(path: str, otherwise: str) -> str:
    """The split that the folders of a relative path are called by, the innermost first; `otherwise` if none is."""
    matches = (WORD.fullmatch(folder) for folder in reversed(path.split("/")[:-1]))
    return next((match[1] for match in matches if match), otherwise)
