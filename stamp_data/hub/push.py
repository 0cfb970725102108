"""Sets from folders to a hub, once every byte of them is known to be right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from stamp_data.files import read_plain
from stamp_data.hub.card import CARD, MARK, Told, card, is_licence
from stamp_data.hub.places import FolderHub, Hub, Progress, open_hub
from stamp_data.shards.manifest import (
    INDEX,
    MANIFEST,
    REJECTS,
    SHARD_NAME,
    WIDS,
    find_sets,
    parse_manifest,
    read_manifest,
)
from stamp_data.shards.rejects import read_rejects
from stamp_data.shards.stores import LocalStore
from stamp_data.verify import verify_set
from stamp_schemas import Manifest, StampError, UsageFault

NAMED = 8  # files of which a note tells
_LISTS = (INDEX, WIDS, REJECTS)


class Pushed(msgspec.Struct):
    """What was done. files, bytes: that were sent. kept: files that were there. revision: of the hub, "" of a folder."""

    place: str
    sets: list[str]
    files: int
    bytes: int
    kept: int
    revision: str
    notes: list[str]

    def summary(self) -> str:
        at = f", revision {self.revision}" if self.revision else ""
        sent = f"{self.files} files of {self.bytes:,} bytes sent, {self.kept} there already"
        return f"{self.place}: {', '.join(self.sets)}: {sent}{at}"


def push(
    root: Path,
    place: str,
    *,
    private: bool = False,
    revision: str = "",
    licence: str = "",
    workers: int = 1,
    progress: Progress = lambda *_: None,
) -> Pushed:
    """Send the sets at or below a folder to a dataset on a hub, with a card; the same call goes on where one was stopped.

    Sets of other names that are there stay. A card that people wrote stays, too. private: if the dataset is made anew.
    licence: of the whole, as the hub calls it. StampError if a set is damaged, or the hub refuses; UsageFault for what are no
    sets in folders, or two of one name.
    """
    if licence and not is_licence(licence):
        raise UsageFault(
            f"--licence {licence!r} is no licence as the hub calls them", "for example cc-by-4.0, mit, other"
        )
    hub = open_hub(place, revision)
    sets = _sets(root)
    if isinstance(hub, FolderHub) and root.resolve() in hub.folder.resolve().parents:
        raise UsageFault(f"{hub}: lies in {root}, whose sets are pushed", "name a folder beside it")
    for folder in sets.values():
        _check(folder, workers, progress)
    files = {f"{name}/{file}": folder / file for name, folder in sets.items() for file in _files(folder)}
    hub.create(private)
    there = hub.files()
    kept = {name for name, path in files.items() if there.get(name) == path.stat().st_size and hub.same(name, path)}
    gone = [name for name in there if name not in files and _is_of(name, sets)]
    sending = {name: path for name, path in files.items() if name not in kept}
    notes = [_licences(sets.values()), *_left(sets.values())]
    with TemporaryDirectory(prefix="stamp-push-") as stage:
        readme = Path(stage) / "card"
        if _may_write_card(hub, there, Path(stage)):
            readme.write_text(_card(hub, there, sets, licence, Path(stage)), encoding="utf-8")
            if there.get(CARD) != readme.stat().st_size or not hub.same(CARD, readme):
                sending[CARD] = readme
        else:
            notes.append(f"{CARD} there was written by people, and stays as it is")
        sizes = [path.stat().st_size for path in sending.values()]
        if sending or gone:
            hub.put(sending, gone, f"Sets {', '.join(sets)}", progress)
            _check_sent(hub, sending)
    return Pushed(str(hub), list(sets), len(sending), sum(sizes), len(kept), hub.revision(), notes)


def _sets(root: Path) -> dict[str, Path]:
    """The folders of built sets by their names."""
    found: dict[str, Path] = {}
    for store in find_sets(root):
        if not isinstance(store, LocalStore):
            raise UsageFault(f"{store}: is no folder", "sets are pushed from folders")
        name = read_manifest(store).name
        if name in found:
            raise UsageFault(f"{found[name]} and {store} are both called {name}", "push them to two datasets")
        found[name] = Path(store.place)
    return found


def _check(folder: Path, workers: int, progress: Progress) -> None:
    """StampError for a set that is not as its manifest says; labels are held against their hashes, not made anew."""
    faults = verify_set(folder, workers=workers, labels=False, progress=progress)
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise StampError(f"{folder}: {faults[0]}{more}; nothing is pushed", f"`stamp-data verify {folder} --repair`")


def _files(folder: Path) -> list[str]:
    return [*(entry.path for entry in read_manifest(folder).shards), *_LISTS, MANIFEST]


def _check_sent(hub: Hub, files: dict[str, Path]) -> None:
    """StampError where the hub passed over a file without a word, as it does with those that its .gitignore names."""
    there = hub.files()
    if lacking := [name for name, path in files.items() if there.get(name) != path.stat().st_size]:
        raise StampError(f"{hub}/{lacking[0]}: was sent, and is not there", "does its .gitignore name such files?")


def _is_of(name: str, sets: Iterable[str]) -> bool:
    """Whether a file of the hub is of an earlier state of a set that is pushed."""
    folder, _, file = name.rpartition("/")
    return folder in sets and bool(SHARD_NAME.fullmatch(file))


def _licences(folders: Iterable[Path]) -> str:
    said = dict.fromkeys(read_manifest(folder).licence for folder in folders)
    return f"licences of the sources: {'; '.join(said)}"


def _left(folders: Iterable[Path]) -> Iterator[str]:
    """What lies beside the files of a set, such as codes of its masks, and is not sent."""
    for folder in folders:
        others = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - set(_files(folder))
        if others:
            yield f"{folder}: no part of the set, and not sent: {', '.join(sorted(others)[:NAMED])}"


def _may_write_card(hub: Hub, there: dict[str, int], stage: Path) -> bool:
    """Whether there is no card, or one that was written here. The hub makes some that hold fields alone."""
    if CARD not in there:
        return True
    text = read_plain(hub.fetch(CARD, stage)).decode("utf-8", "replace")
    return MARK in text or not text.strip()


def _card(hub: Hub, there: dict[str, int], sets: dict[str, Path], licence: str, stage: Path) -> str:
    """Of the sets that are pushed, and of those that are there."""
    told = {name: _told(folder) for name, folder in sets.items()}
    for name in there:
        folder, _, file = name.rpartition("/")
        if file == MANIFEST and folder not in told and f"{folder}/{REJECTS}" in there:
            hub.fetch(f"{folder}/{REJECTS}", stage)
            told[folder] = _told(hub.fetch(name, stage).parent)
    return card(str(hub), [told[name] for name in sorted(told)], licence)


def _told(folder: Path) -> Told:
    manifest: Manifest = parse_manifest(read_plain(folder / MANIFEST), folder, checked=True)
    return Told(manifest, read_rejects(folder / REJECTS))
