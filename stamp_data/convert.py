"""`stamp-data convert`: what lies there is built, and goes out in another format, in one go.

The shard sets in between lie hidden beside the new folder, and are removed in the end unless they are asked for.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from stamp_data.build.jobs import Job, run_job
from stamp_data.build.split import Built, Progress
from stamp_data.doctor import is_of_another
from stamp_data.executors import Executor
from stamp_data.export import FORMATS, ExportReport, check_call, export_sets
from stamp_data.shards.manifest import REJECTS, find_sets
from stamp_data.shards.rejects import read_rejects, rejects_bytes
from stamp_data.shards.stores import Location, is_url
from stamp_data.sources import SOURCES
from stamp_data.sources.coco import COCO
from stamp_data.sources.foreign import explained, recognise
from stamp_data.sources.own_refer import own_sets
from stamp_schemas import Reject, StampError, UsageFault

_NAMED = re.compile(r"`stamp-data build (\w+) --root")  # what a format that is known by its keys is built by
SHARDS = "shards"  # what `origin` is called where nothing has to be built


class Converted(msgspec.Struct):
    """origin: the format that was read. rejects: inputs that were refused or altered, all of them in REJECTS of the folder."""

    origin: str
    rejects: int
    export: ExportReport

    def summary(self) -> str:
        """One line for the terminal."""
        rejects = f"; {self.rejects:,} rejects (see {self.export.folder / REJECTS})" if self.rejects else ""
        return f"{self.export.summary()}{rejects}"


@dataclass(frozen=True)
class Way:
    """How to convert. origin, to: formats, "" to be guessed. job: what a build is to know besides.

    shards: where the sets in between are kept; hidden, and removed, if None.
    """

    job: Job
    origin: str = ""
    to: str = ""
    polygons: bool = False
    allow_loss: bool = False
    shards: Path | None = None

    @property
    def of_builds(self) -> list[str]:
        """The options that are given and mean something to a build only."""
        job = self.job
        said = (job.splits, job.images, job.encoding, job.follow_links, job.crowd != "ignore", self.shards)
        names = ("--split", "--images", "--encoding", "--follow-links", "--crowd", "--shards")
        return [name for name, value in zip(names, said, strict=True) if value]


def convert(source: str, out: Path, way: Way, executor: Callable[[], Executor], progress: Progress) -> Converted:
    """Write what lies at `source`, raw data or shard sets, to the new folder `out`.

    executor: called if something has to be built. UsageFault for a call that is wrong, StampError for data that is, as of
    `run_job` and `export_sets`; in all cases nothing is left behind but `way.shards`.
    """
    to = way.to or format_of(out)
    check_call(to, out)
    origin = way.origin or origin_of(source)
    if origin == SHARDS:
        if given := way.of_builds:
            raise UsageFault(f"{given[0]} is for raw data, and {source} holds shard sets", "leave it out")
        return Converted(origin, 0, _exported(list(find_sets(source)), to, out, way, [], progress))
    if way.shards:
        _check_apart(out.resolve(), way.shards.resolve(), way.shards.resolve() / origin)
    hidden = out.absolute().with_name(f".{out.absolute().name}.{os.getpid()}.shards")
    job = msgspec.structs.replace(way.job, names=(origin,), root=Path(source), out=way.shards or hidden)
    try:
        built = _built(job, executor(), progress, hidden)
        rejects = [row for one in built for row in read_rejects(one.folder / REJECTS)]
        report = _exported([str(one.folder) for one in built], to, out, way, rejects, progress)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return Converted(origin, len(rejects), report)


def origin_of(source: str) -> str:
    """SHARDS, or the one format that is found at a place. UsageFault if there are several, or no such place."""
    if is_url(source):
        return SHARDS
    root = Path(source)
    if not root.exists():
        raise UsageFault(f"{source} does not exist", "name the file or folder that is to be converted")
    if root.is_dir() and _holds_sets(source):
        return SHARDS
    found = [name for name, kind in SOURCES.items() if kind.find(root) and not is_of_another(kind, root)]
    found += own_sets(root, tuple(SOURCES)) if root.is_dir() else []
    if found in ([], [COCO.dataset]):  # which is found by the place of a file alone
        form = recognise(root)
        said = _NAMED.match(form.way) if form else None
        found = [said[1]] if said and said[1] in SOURCES else found
    if not found:
        fault = StampError(f"{source}: no format that is known", "`stamp-data build --help` lists what is read")
        raise explained(fault, root, "")
    if len(found) > 1:
        raise UsageFault(f"{source} may be {', '.join(found)}", f"--from {found[0]}, or another of them")
    return found[0]


def format_of(out: Path) -> str:
    """The format that the name of a new folder speaks of, as `pets-coco` does. UsageFault if it is not one."""
    name = _plain(out.absolute().name)
    found = [to for to in FORMATS if re.search(rf"(?<![a-z0-9]){re.escape(_plain(to))}(?![a-z0-9])", name)]
    if len(found) != 1:
        told = f"speaks of {' and '.join(found)}" if found else "speaks of no format"
        raise UsageFault(f"the name {out.name!r} {told}", f"--to is one of {', '.join(FORMATS)}")
    return found[0]


def _check_apart(out: Path, shards: Path, sets: Path) -> None:
    """UsageFault for a folder of shard sets in the new folder, or the other way round. sets: those of this source."""
    if shards.is_relative_to(out) or out.is_relative_to(sets):
        raise UsageFault(f"--shards {shards} and {out} would lie in each other", "give two folders apart")


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


def _holds_sets(source: str) -> bool:
    try:
        return bool(find_sets(source))
    except UsageFault:
        return False


def _built(job: Job, executor: Executor, progress: Progress, hidden: Path) -> list[Built]:
    try:
        return list(run_job(job, executor, progress))
    except StampError as fault:
        if str(hidden) not in str(fault):
            raise
        message = fault.message.replace(f"{hidden}/", "")
        raise type(fault)(message, "--shards DIR keeps what is built, and all reasons in its rejects.jsonl") from None


def _exported(
    places: list[Location], to: str, out: Path, way: Way, rejects: list[Reject], progress: Progress
) -> ExportReport:
    more = {REJECTS: rejects_bytes(rejects)}
    return export_sets(places, to, out, polygons=way.polygons, allow_loss=way.allow_loss, more=more, progress=progress)
