"""What a build will do: which record goes into which shard, from the annotations alone.

A plan is cut into tasks, one per shard. A task file holds everything its shard is made from except the pictures, so any
process anywhere can render it; its digest names its result.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from blake3 import blake3
from xxhash import xxh3_64_hexdigest, xxh3_64_intdigest

from stamp_data.files import MISSING, SHARD_LIMIT, Stamp, read_struct, stamp
from stamp_data.patches import MISFIT, FiledPatch, SetPatch
from stamp_data.shards.rejects import RejectLog, by_reason
from stamp_schemas import Annotation, Settings, StampError

if TYPE_CHECKING:
    from stamp_data.sources.base import Source  # with all the sources, which workers do not need
    from stamp_data.sources.finding import Finder

EXCLUDED = "excluded"  # reason of rows about records that a list leaves out
KEY_LIMIT = 80  # characters; longest member name of a tar is 100
RENDERER = 2  # raised when the same task would render to other bytes

_UNSAFE = re.compile(r"[^a-z0-9_+-]+")


class SetFault(StampError):
    """One split cannot be built; others that were asked for still can."""


class Planned(msgspec.Struct):
    """One record to be.

    picture_bytes: size of the picture's file when the plan was made, -1 if there is none. patches: to be applied to it, in this
    order; unset without any, so that a patch changes no task but those of its records.
    """

    key: str
    picture_bytes: int
    annotation: Annotation
    patches: list[FiledPatch] | msgspec.UnsetType = msgspec.UNSET


class Task(msgspec.Struct):
    """One shard to be. shard: its file name. digest: BLAKE3 over settings and records, hex. numbered: `Source.numbered`."""

    shard: str
    digest: str
    numbered: bool
    settings: Settings
    records: list[Planned]


class TaskHead(msgspec.Struct):
    """What the build itself remembers of a task; its file holds the rest.

    times: digest of when its pictures were last changed (`times_digest`). newest: the latest of these times.
    """

    shard: str
    digest: str
    path: Path
    records: int
    times: str
    newest: int


def make_key(set_name: str, split: str, identity: str) -> str:
    """Record key: `[a-z0-9_+-]`, at most 80 characters, unique if `identity` is. Numbers are padded to twelve digits.

    What has to be replaced or cut to fit leaves eight digits of its hash behind, so that two names cannot fall together.
    """
    stem = f"{int(identity):012d}" if identity.isascii() and identity.isdecimal() and len(identity) < 13 else identity
    whole = f"{set_name}-{split}".lower() + f"-{stem}"
    key = _UNSAFE.sub("_", whole.lower())
    if key == whole and len(key) <= KEY_LIMIT:
        return key
    return f"{key[: KEY_LIMIT - 9]}-{xxh3_64_hexdigest(whole.encode('utf-8', 'surrogatepass'))[:8]}"


def plan_tasks(
    source: Source, settings: Settings, rejects: RejectLog, folder: Path, patches: Sequence[SetPatch] = ()
) -> list[TaskHead]:
    """Write the task files of one split into `folder`; returns their heads in shard order.

    Records are put in the order of a hash of their keys: neighbours in a shard are then unrelated, which is the offline
    half of a shuffle, and the order depends on nothing but the keys. Shards are equally full, to within one record.
    Records wait in a spool file meanwhile, so that memory holds only their keys. patches: of this split; what they say of
    records that it does not have becomes rows of `rejects`.
    """
    changes = _by_record(patches)
    left_out = {key: (one.origin.path, why) for one in patches for key, why in one.left_out.items()}
    spool_path = folder / "spool"
    places: list[tuple[int, str, int, int, int]] = []
    taken: dict[str, int] = {}
    end = 0
    with spool_path.open("wb+", buffering=1 << 20) as spool:
        for annotation in source.annotations(settings.split, rejects):
            key = _unique(make_key(source.name, settings.split, annotation.id), taken)
            if key in left_out:
                file, why = left_out[key]
                rejects.add(file, key, EXCLUDED, why, expressions=len(annotation.targets))
                changes.pop(key, None)
                continue
            picture = locate(annotation, source.finder)
            record = msgspec.json.encode(Planned(key, picture.size, annotation, changes.pop(key, msgspec.UNSET)))
            places.append((xxh3_64_intdigest(key.encode()), key, end, len(record), picture.changed))
            end += spool.write(record)
        for key, left in changes.items():
            for one in left:
                rejects.add(one.file, key, MISFIT, f"{settings.name} has no record of this key")
        if not places:
            refused = by_reason(rejects.rows) or "the annotations name none"
            first = f"the first because: {rejects.rows[0].detail}" if rejects.rows else "is it the right file?"
            raise SetFault(f"{source.name}/{settings.split}: no usable record: {refused}", first)
        spool.flush()
        places.sort()
        count = -(-len(places) // settings.shard_records)
        bounds = [len(places) * number // count for number in range(count + 1)]
        heads = []
        for number in range(count):
            shard = places[bounds[number] : bounds[number + 1]]
            records = [os.pread(spool.fileno(), size, at) for _, _, at, size, _ in shard]
            changed = [place[-1] for place in shard]
            heads.append(_write_task(f"shard-{number:06d}.tar", source.numbered, settings, records, changed, folder))
    spool_path.unlink()
    return heads


def load_task(path: Path) -> Task:
    """Read a task file back; StampError if the disk has not kept it."""
    return read_struct(path, Task, SHARD_LIMIT, "run the same command again: the plan is made again")


def locate(annotation: Annotation, finder: Finder) -> Stamp:
    """What the picture is now, so that one that goes missing or changes later stops the build. A picture that does not lie
    where it should is looked for, and the annotation then says where it lies.

    One look per record, in this process, costs little of a build: on a network disk it is one question of the many that
    reading the picture takes, and the answer is still in the client's cache when the picture is read soon after. Only to
    list the folders would be cheaper, but would tell no sizes, and cannot tell a folder that is gone from one that was
    never there.
    """
    image = annotation.image
    if image is None:
        return MISSING
    found = MISSING if finder.given and not image.embedded else stamp(finder.full(image))
    if found == MISSING and not image.embedded:
        annotation.image = finder.placed(image)
        return stamp(finder.full(annotation.image))
    return found


def times_digest(changed: Sequence[int]) -> str:
    """Names the times at which the pictures of a shard's records were last changed, in the order of the records."""
    return xxh3_64_hexdigest(msgspec.json.encode(changed))


def _by_record(patches: Sequence[SetPatch]) -> dict[str, list[FiledPatch]]:
    found: dict[str, list[FiledPatch]] = {}
    for one in patches:
        for key, changes in one.records.items():
            found.setdefault(key, []).extend(changes)
    return found


def _unique(key: str, taken: dict[str, int]) -> str:
    """`key`, numbered if an earlier record has it (LLaVA's ids repeat). taken: keys, and how often each came again."""
    unique = key
    while unique in taken:
        taken[key] += 1
        unique = f"{key[: KEY_LIMIT - 8]}-{taken[key]}"
    taken[unique] = 0
    return unique


def _write_task(
    shard: str, numbered: bool, settings: Settings, records: list[bytes], changed: list[int], folder: Path
) -> TaskHead:
    body = b",".join(records)
    digest = blake3(msgspec.json.encode([RENDERER, shard, settings]))
    digest.update(body)
    head = msgspec.json.encode(Task(shard, digest.hexdigest(), numbered, settings, []))
    path = folder / f"{shard}.task"
    path.write_bytes(head.removesuffix(b"]}") + body + b"]}")
    return TaskHead(shard, digest.hexdigest(), path, len(records), times_digest(changed), max(changed))
