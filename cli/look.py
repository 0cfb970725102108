"""`stamp-data verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stamp_cli.console import only_for, print_json, progress_bar, say
from stamp_cli.make import FollowLinks, Images, Json, Patches, Workers, folder_of_root

if TYPE_CHECKING:
    from stamp_data.verify import Fault

Shards = Annotated[str, typer.Argument(help="A built split or a folder of them; or its URL.")]


def verify(
    context: typer.Context,
    path: Shards,
    repair: Annotated[bool, typer.Option("--repair", help="Build the damaged shards anew; needs --root.")] = False,
    root: Annotated[Path | None, typer.Option("--root", "-r", help="The raw data that the set was built from.")] = None,
    images: Images = None,
    follow_links: FollowLinks = False,
    tokenizer: Annotated[Path | None, typer.Option(help="The tokenizer that the set was built with, if any.")] = None,
    patch: Patches = None,
    labels: Annotated[
        bool, typer.Option(help="Make every label anew from its mask; most of the time goes there.")
    ] = True,
    workers: Workers = None,
    json: Json = False,
) -> None:
    """Check every hash, count, mask and label of built sets; list the faults, and exit 1 if there are any."""
    from stamp_data.build.jobs import checked_images
    from stamp_data.build.seal import mended
    from stamp_data.executors.local import usable_cores
    from stamp_data.shards.manifest import find_sets
    from stamp_data.shards.stores import is_url
    from stamp_data.sources.finding import Finder
    from stamp_data.verify import unguarded, verify_set
    from stamp_schemas import UsageFault

    only_for(context, "--repair", repair, "root", "tokenizer", "patch")
    if repair and root is None:
        raise UsageFault("--repair needs --root", "the folder of the raw data that the set was built from")
    if root is not None:
        root, follow_links = folder_of_root(root, (), follow_links)
    if root is not None and not root.exists():
        raise UsageFault(f"--root {root}: no such folder")
    if repair and is_url(path):
        raise UsageFault(f"--repair: {path} is a URL", "repair the set where it was built, then copy it there")
    given = checked_images(images or ())
    finder = Finder([path.resolve() for path in (root or Path(), *given)], len(given), follow_links=follow_links)
    processes, found = workers or usable_cores(), []
    sets = find_sets(path, unfinished=True)
    with progress_bar() as report:
        for store in sets:
            folder, name = store.place, "/".join(store.place.split("/")[-2:])

            def labelled(done: int, total: int, what: str, name: str = name) -> None:
                report(done, total, f"{name}: {what}")

            faults = verify_set(store, workers=processes, labels=labels, progress=labelled)
            if repair and root is not None and (faults or mended(Path(folder), finder)):
                faults = _repair(Path(folder), faults, root, (given, follow_links), (tokenizer, patch or []), processes)
            found += [(folder, fault) for fault in faults]
            if unguarded(store):
                say(f"note: {folder}: written by an earlier version, without a checksum of the manifest's own text")
    if json:
        listed = [{"folder": folder, "fault": fault} for folder, fault in found]
        print_json({"sets": [store.place for store in sets], "faults": listed})
    else:
        for folder, fault in found:
            print(f"{folder}: {fault}")
        print(f"{len(sets)} sets: {len(found)} faults" if found else f"{len(sets)} sets: no fault")
    if found:
        if not repair and not is_url(path):
            for line in _hints(path, found):
                say(f"hint: {line}")
        raise typer.Exit(1)


def _hints(path: str, found: list[tuple[str, Fault]]) -> list[str]:
    """What mends each of the sets at or below `path` that have faults; an unfinished one is told of by its fault."""
    from msgspec import UNSET

    from stamp_data.shards.manifest import MANIFEST, read_manifest

    codes: dict[str, set[str]] = {}
    for folder, fault in found:
        codes.setdefault(folder, set()).update([fault.code] if fault.shard == MANIFEST else [])
    lines, whole = [], [folder for folder, known in codes.items() if not known]
    for folder, known in codes.items():
        if known - {"manifest-missing"}:  # a repair would build by the settings in it, and refuses if they are others
            again = "`stamp-data build` with --overwrite and the options that it was built with"
            lines.append(f"{folder}: {again} writes its manifest anew, and keeps what shards it can")
    manifests = [read_manifest(folder, checked=False) for folder in whole]
    more = " --tokenizer FOLDER" if any(one.settings.tokenizer for one in manifests) else ""
    more += " --patch FILE" if any(one.patches is not UNSET for one in manifests) else ""
    places = [path] if whole == list(codes) else whole
    repaired = f"--repair --root ROOT{more} builds the damaged shards anew"
    return [*lines, *(f"stamp-data verify {place} {repaired}" for place in places)]


def _repair(
    folder: Path,
    faults: list[Fault],
    root: Path,
    pictures: tuple[tuple[Path, ...], bool],
    more: tuple[Path | None, list[Path]],
    processes: int,
) -> list[Fault]:
    """Repair one set, say what was done, and return the faults that are left. more: tokenizer and patches of the build."""
    from stamp_data.executors.local import LocalExecutor
    from stamp_data.patches import read_patches
    from stamp_data.shards.manifest import read_manifest
    from stamp_data.sources import Reading, open_source
    from stamp_data.verify import repair

    tokenizer, patches = more
    settings = read_manifest(folder, checked=False).settings
    source = open_source(settings.dataset, root, settings.split_by, Reading.of(settings, *pictures))
    source.load()
    executor = LocalExecutor(processes)
    try:
        done = repair(
            folder,
            source,
            executor,
            tokenizer=tokenizer,
            patches=read_patches(patches).get(settings.name, ()),
            faults=faults,
            workers=processes,
        )
    finally:
        executor.close()
    made = done.built.rendered if done.built else 0
    state = "as it was before the damage" if done.identical else "not as its manifest said: the pictures have changed"
    say(f"{folder}: {len(done.faults)} faults, {made} shards built anew; the set is {state}")
    return done.left
