"""Annotations to begin with: what built sets, or files of other tools, say of the same pictures, as proposals.

Pictures are told by their bytes, not by their names. A picture of which anything is said already stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xxhash import xxh3_64_intdigest

from stamp_data.annotate.draft import Draft
from stamp_data.annotate.hints import Model, hints
from stamp_data.annotate.images import Images
from stamp_data.annotate.store import Store
from stamp_data.shards.manifest import find_sets
from stamp_data.shards.reader import ShardSet
from stamp_data.shards.rejects import RejectLog
from stamp_data.tags import read_tags
from stamp_schemas import Record, Settings, StampError, UsageFault
from stamp_schemas.annotated import ImageFile
from stamp_schemas.tags import TAGS_SCHEMA

_HEAD = 4096  # bytes in which a list says that it is one
_NAMED = re.compile(r"([a-z0-9_+]+)=(.+)", re.DOTALL)  # NAME=PATH, where a format is said


@dataclass
class Begun:
    """How many pictures are known, and of how many of them nothing had been said, so that they were begun.

    refused: pictures that could not be begun, with why. sets: whether built sets were among what they were begun from. listed:
    pictures of records of lists.
    rejects: what files of other tools say that cannot be used.
    """

    known: int = 0
    begun: int = 0
    refused: list[str] = field(default_factory=list)
    sets: bool = False
    listed: set[str] = field(default_factory=set)
    rejects: RejectLog = field(default_factory=RejectLog)


@dataclass(frozen=True)
class _Found:
    """A record of a picture. digest: xxh3-64 of the picture's bytes. name: what says so. of_set: the set's name."""

    digest: int
    record: Record
    name: str
    of_set: str = ""


def begin_from(places: Sequence[str], images: Images, store: Store) -> Begun:
    """Write what sets or files say of the pictures into a store.

    places: of built sets, or of what `build` reads, also as NAME=PATH. UsageFault if one is neither; StampError as of reading.
    """
    numbers = _by_digest(images)
    drafts: dict[int, Draft] = {}
    told = Begun()
    for place in places:
        listed = is_list(place)
        records = _of_list(Path(place), numbers) if listed else _records(place, numbers, images, told)
        for found in records:
            for number in numbers.get(found.digest, ()):
                draft = drafts.setdefault(number, Draft(images.orientation(number)))
                draft.add(found.record, found.name, found.of_set)
                if listed:
                    told.listed.add(images.names[number])
        told.sets |= listed
    told.known = len(drafts)
    for number, draft in sorted(drafts.items()):
        if _is_untouched(images.file(number), store):
            try:
                store.change(images.file(number), 0, draft.change())
            except StampError as fault:
                told.refused.append(f"{images.names[number]}: {fault.message}")
            else:
                told.begun += 1
    return told


def flagged(images: Images, store: Store, model: Model) -> list[str]:
    """The pictures of which something is flagged in what is said of them."""
    return [name for name in images.names if _is_flagged(name, store, model)]


def _records(place: str, numbers: dict[int, list[int]], images: Images, told: Begun) -> Iterator[_Found]:
    from stamp_data.convert import SHARDS, origin_of  # what reads all formats takes a while to load

    said = _NAMED.fullmatch(place)
    name, place = (said[1], said[2]) if said else ("", place)
    try:
        name = name or origin_of(place)
    except UsageFault as fault:
        hint = "say which, as in --from coco=PATH" if "may be" in fault.message else fault.hint
        raise UsageFault(fault.message, hint) from None
    if name == SHARDS:
        told.sets = True
        yield from _of_sets(place, numbers)
    else:
        yield from _of_files(name, Path(place), images, told.rejects)


def is_list(place: str) -> bool:
    """Whether a place is a list of tagged records."""
    path = Path(place)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return f'"{TAGS_SCHEMA}"'.encode() in file.read(_HEAD)


def _of_list(path: Path, numbers: Container[int]) -> Iterator[_Found]:
    """What sets say of the records of a list. StampError for a set that is not there any more."""
    wanted: dict[str, set[str]] = {}
    for one in read_tags(path):
        wanted.setdefault(one.place, set()).add(one.record)
    for place, keys in wanted.items():
        if not place:
            raise StampError(f"{path}: does not say where its sets are", "`inspect --serve --tags FILE` writes it")
        yield from _of_sets(place, numbers, keys)


def _of_sets(place: str, numbers: Container[int], keys: Container[str] | None = None) -> Iterator[_Found]:
    for store in find_sets(place):
        with ShardSet(store) as records:
            for row in records.rows:
                if row.image_xxh3 in numbers and (keys is None or row.key in keys):
                    yield _Found(row.image_xxh3, records.record(row), records.name, records.name)


def _of_files(name: str, place: Path, images: Images, rejects: RejectLog) -> Iterator[_Found]:
    """What files say, as a build would read and render it; pictures that they name are looked for among `images` first."""
    from stamp_data.build.plan import Planned, locate, make_key
    from stamp_data.build.render import Renderer
    from stamp_data.sources import Reading, open_source

    source = open_source(name, place, reading=Reading(images=(images.root,)))
    source.load()
    for split in source.splits():
        settings = Settings(dataset=source.dataset, split_by=source.split_by, split=split)
        renderer = Renderer(source.roots, settings, numbered=source.numbered)
        for annotation in source.annotations(split, rejects):
            size = locate(annotation, source.finder).size
            planned = Planned(make_key(source.name, split, annotation.id), size, annotation)
            rendered = renderer.render(planned, rejects)
            if rendered and rendered.picture:
                yield _Found(xxh3_64_intdigest(rendered.picture.data), rendered.record, str(place))


def _is_untouched(image: ImageFile, store: Store) -> bool:
    try:
        return store.open(image).document.revision == 0
    except StampError:  # a damaged file, which is named when its picture is opened
        return False


def _is_flagged(name: str, store: Store, model: Model) -> bool:
    try:
        document = store.peek(name)
        return document is not None and bool(hints(document, document.phrases, "", model).flags)
    except StampError:
        return True  # what cannot be read is to be seen


def _by_digest(images: Images) -> dict[int, list[int]]:
    """Numbers of pictures by the hash of their bytes, which several may share; one that cannot be read is left out, and says
    why when it is opened.
    """
    found: dict[int, list[int]] = {}
    for number in range(len(images.names)):
        try:
            found.setdefault(xxh3_64_intdigest(images.bytes(number)), []).append(number)
        except StampError:
            continue
    return found
