"""Where sets are pushed to: a dataset on the Hugging Face hub, or a folder in its place."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from stamp_data.files import file_digest
from stamp_data.shards.manifest import MANIFEST
from stamp_data.shards.stores import LocalStore, open_store
from stamp_data.writing import part_of
from stamp_schemas import UsageFault
from stamp_schemas.errors import naming

Progress = Callable[[int, int, str], None]
PREFIXES = ("hf://datasets/", "hf:")
_KNOWN = "OWNER/NAME of a dataset on the Hugging Face hub, or file:///FOLDER"


class Hub(ABC):
    """One dataset on a hub, at one revision. name: for messages."""

    name: str

    def __str__(self) -> str:
        return self.name

    @abstractmethod
    def files(self) -> dict[str, int]:
        """Bytes of its files by their paths; UsageFault or StampError if it is not there."""

    @abstractmethod
    def create(self, private: bool) -> None:
        """Make it, and the revision, if they are not there. UsageFault where it cannot be made private."""

    @abstractmethod
    def same(self, name: str, path: Path) -> bool:
        """Whether a file of it, known to have as many bytes, is the one at `path`."""

    @abstractmethod
    def fetch(self, name: str, folder: Path) -> Path:
        """A file of it, put below `folder`, which goes on where it was stopped."""

    @abstractmethod
    def put(self, files: Mapping[str, Path], gone: Iterable[str], message: str, progress: Progress) -> None:
        """Send files and take others away. Whoever reads it meanwhile finds the old manifest, or none."""

    @abstractmethod
    def revision(self) -> str:
        """What names the state that it is in; "" where nothing does."""


def open_hub(place: str, revision: str = "") -> Hub:
    """The hub at a place; nothing is asked of it yet. UsageFault for what names none."""
    if place.startswith("file://"):
        if revision:
            raise UsageFault(f"--revision {revision}: a folder has no revisions", "leave it out")
        store = open_store(place)
        assert isinstance(store, LocalStore)
        return FolderHub(Path(store.place))
    name = place
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    if "://" in name or name.startswith(("/", ".", "~")):
        raise UsageFault(f"{place}: no name of a dataset", _KNOWN)
    from stamp_data.hub.huggingface import HuggingFaceHub

    return HuggingFaceHub(name, revision)


class FolderHub(Hub):
    """A folder that many may read, such as one of a network share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"file://{folder}"

    def files(self) -> dict[str, int]:
        if not self.folder.is_dir():
            raise UsageFault(f"{self}: no such folder", "check its name; `stamp-data hub push` makes one")
        found = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in found}

    def create(self, private: bool) -> None:
        if private:
            raise UsageFault("--private is for the Hugging Face hub", "a folder is as private as its permissions are")
        self.folder.mkdir(parents=True, exist_ok=True)

    def same(self, name: str, path: Path) -> bool:
        return file_digest(self.folder / name) == file_digest(path)

    def fetch(self, name: str, folder: Path) -> Path:
        there = folder / name
        _copy(self.folder / name, there)
        return there

    def put(self, files: Mapping[str, Path], gone: Iterable[str], message: str, progress: Progress) -> None:  # noqa: ARG002 - no log is kept
        for name in (*gone, *(name for name in files if name.endswith(MANIFEST))):
            (self.folder / name).unlink(missing_ok=True)
        names = sorted(files, key=lambda name: name.endswith(MANIFEST))  # without one, nothing counts as finished
        for done, name in enumerate(names):
            progress(done, len(names), "sending")
            _copy(files[name], self.folder / name)

    def revision(self) -> str:
        return ""


def _copy(source: Path, target: Path) -> None:
    """Copy a file so that nobody meets half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(target)
    try:
        with naming(target, part):
            shutil.copyfile(source, part)
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)
