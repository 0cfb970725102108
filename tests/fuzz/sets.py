"""Readers of built sets and of builds that were stopped: every member and every file, its hash taken for granted or not."""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

import msgspec

from stamp_data.build.plan import load_task, plan_tasks
from stamp_data.build.receipt import Workplace, read_receipt
from stamp_data.build.seal import mended, unseal
from stamp_data.build.split import describe_inputs
from stamp_data.build.task import run_task
from stamp_data.files import file_digest
from stamp_data.hub import pull
from stamp_data.inspect.concat import ConcatDataset
from stamp_data.inspect.reading import StatsReader
from stamp_data.inspect.record_stats import RecordStats
from stamp_data.inspect.selection import DEFAULT
from stamp_data.shards.index import IndexRow, read_rows
from stamp_data.shards.labels import parse_labels
from stamp_data.shards.manifest import read_manifest
from stamp_data.shards.reader import ShardSet
from stamp_data.shards.rejects import RejectLog, read_rejects
from stamp_data.verify import verify_set
from stamp_data.verify.fault import Fault, FaultList
from stamp_data.verify.record import Found, RecordCheck
from stamp_data.verify.sets import check_index, check_manifest
from stamp_data.verify.shard import ShardJob, check_shard
from stamp_schemas import Record, Settings

from ..stamp_data.making import ListSource, assorted, build, tree
from .harness import PART, WHOLE, Reader
from .mutations import BYTES, TEXT, Mutation

INDEX, MANIFEST, REJECTS, WIDS, SHARD = (
    "index.parquet",
    "manifest.json",
    "rejects.jsonl",
    "wids.json",
    "shard-000000.tar",
)


@lru_cache(maxsize=1)
def made() -> tuple[ListSource, Path]:
    """A source of a few records of every kind, and the set that was built of it."""
    home = Path(mkdtemp(prefix="stamp-fuzz-"))
    atexit.register(shutil.rmtree, home)
    source = assorted(home / "raw", 5)
    return source, build(source, home / "out", shard_records=5)


def copy(root: Path, name: str) -> Path:
    """A copy of the set; returns the path of one of its files."""
    for file, data in tree(made()[1]).items():
        (root / file).write_bytes(data)
    return root / name


def told(faults: Iterable[Fault]) -> str:
    """The outcome of a check: every fault says something that can be printed."""
    found = list(faults)
    for fault in found:
        assert fault.detail and "\n" not in str(fault)
        msgspec.json.encode(fault)
    return PART if found else WHOLE


# --- members, as they are read once their hash is right ------------------------------------------------------------------


def victim() -> tuple[IndexRow, dict[str, bytes]]:
    """A record with targets, and its members."""
    with ShardSet(made()[1]) as shards:
        row = next(row for row in shards.rows if row.targets)
        return row, {kind: shards.member(row, kind) for kind in row.members}


def member(kind: str) -> Callable[[Path], Path]:
    def write(root: Path) -> Path:
        path = root / kind
        path.write_bytes(victim()[1][kind])
        return path

    return write


def read_member(path: Path) -> str:
    """The whole record, checked against itself, with one member that is another."""
    row, data = victim()
    faults = FaultList("shard")
    names = {kind: row.member_name(kind) for kind in row.members}
    found = Found(row.key, names, data | {path.name: path.read_bytes()})
    settings = read_manifest(made()[1]).settings
    RecordCheck(found, faults, settings, labels=True).run(row)
    return told(faults.faults)


def read_labels(path: Path) -> str:
    row, data = victim()
    labels = parse_labels(path.read_bytes(), row.labels_shape, "labels")
    return WHOLE if labels.tobytes() == data["labels"][-labels.size :] else PART


def read_record(path: Path) -> str:
    """As the gallery does: statistics and findings of whatever a record of the right hash says."""
    row, data = victim()
    record: Record = msgspec.json.decode(data["json"], type=Record)
    try:
        record = msgspec.json.decode(path.read_bytes(), type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return PART
    with ShardSet(made()[1]) as shards, ConcatDataset([made()[1]]) as dataset:
        stats = RecordStats(0, shards.manifest, row, record, shards.labels(row))
        if len(record.dialogues) != row.dialogues or len(record.targets) != row.targets:
            return PART
        return PART if StatsReader(dataset, DEFAULT)._findings(stats, data["image"]) else WHOLE


# --- files ---------------------------------------------------------------------------------------------------------------


def on_a_hub(root: Path) -> Path:
    """The set in a folder in place of a hub; its manifest is what is damaged."""
    folder = root / "hub/tiny/train"
    folder.mkdir(parents=True)
    return copy(folder, MANIFEST)


def read_from_hub(path: Path) -> str:
    """Pulled whole or refused, and never a manifest beside what is not its own."""
    hub = path.parents[2]
    out = hub.with_name("out")
    shutil.rmtree(out, ignore_errors=True)
    try:
        for one in pull(f"file://{hub}", out):
            assert not verify_set(one.folder, labels=False)
    finally:
        assert {file.name for file in hub.parent.iterdir()} <= {"hub", "out"}
    return WHOLE


def check_tar(path: Path, rows: list[IndexRow] | None, *, labels: bool) -> str:
    """A shard without a manifest. rows: of the index, None for a shard alone."""
    job = ShardJob(
        place=str(path.parent),
        patience=1.0,
        name=path.name,
        entry=None,
        rows=rows,
        trusted=rows is not None,
        settings=None,
        labels=labels,
    )
    return told(check_shard(job))


def read_tar(path: Path) -> str:
    return check_tar(path, None, labels=True)


def read_tar_by_index(path: Path) -> str:
    rows = [row for row in read_rows(made()[1]) if row.shard == path.name]
    return check_tar(path, rows, labels=False)


def read_index(path: Path) -> str:
    """As verify, and as all that read records."""
    faults = check_index(path.parent, None)[1]
    with ShardSet(path.parent) as shards:
        for row in shards.rows:
            shards.load(row)
    return told(faults)


def read_the_manifest(path: Path) -> str:
    faults = check_manifest(path.parent)[1]
    read_manifest(path.parent, checked=False)
    unseal(path.parent)
    mended(path.parent, made()[0].finder)
    return told(faults)


def read_rows_of_rejects(path: Path) -> str:
    rows = read_rejects(path)
    mended(path.parent, made()[0].finder)
    return WHOLE if rows == read_rejects(made()[1] / REJECTS) else PART


def read_set(path: Path) -> str:
    """`verify` of all, which has to find any change at all."""
    faults = verify_set(path.parent, labels=False)
    changed = file_digest(path) != file_digest(made()[1] / path.name)
    assert bool(faults) == changed, "a change that nobody sees"
    return told(faults)


# --- builds that were stopped ----------------------------------------------------------------------------------------------


def planned(root: Path) -> Workplace:
    source = made()[0]
    settings = Settings(source.dataset, "", "train", min_tokens=4, max_tokens=16, shard_records=5)
    plan_tasks(source, settings, RejectLog(), root)
    return Workplace((source.root,), root, root)


def write_task(root: Path) -> Path:
    planned(root)
    return root / f"{SHARD}.task"


def read_task(path: Path) -> str:
    task = load_task(path)
    return WHOLE if msgspec.json.encode(task) == path.read_bytes() else PART


def write_receipt(root: Path) -> Path:
    place = planned(root)
    run_task(root / f"{SHARD}.task", place)
    return root / f"{SHARD}.receipt"


def read_a_receipt(path: Path) -> str:
    return WHOLE if msgspec.json.encode(read_receipt(path)) == path.read_bytes() else PART


def write_state(root: Path) -> Path:
    """Of a build that has begun: what it was called with."""
    folder = root / "out/tiny/train/.build"
    folder.mkdir(parents=True)
    path = folder / "config.json"
    manifest = read_manifest(made()[1])
    path.write_bytes(msgspec.json.encode({"settings": manifest.settings, "inputs": describe_inputs(made()[0])}))
    return path


def go_on(path: Path) -> str:
    """The same command: it goes on, or says why not."""
    state = path.read_bytes()
    out = path.parents[3]
    try:
        build(made()[0], out, shard_records=5)
        return WHOLE
    finally:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(state)
        (path.parent.parent / MANIFEST).unlink(missing_ok=True)


def file_of_set(name: str, file: str, read: Callable[[Path], str], kinds: tuple[Mutation, ...], share: int) -> Reader:
    def write(root: Path) -> Path:
        return copy(root, file)

    return Reader(name, write, read, kinds, share)


READERS: list[Reader] = [
    Reader("record, against itself", member("json"), read_member, TEXT, 350),
    Reader("record, as inspected", member("json"), read_record, TEXT, 150),
    Reader("labels", member("labels"), read_labels, BYTES, 300),
    Reader("picture of a record", member("image"), read_member, BYTES, 100),
    file_of_set("shard, alone", SHARD, read_tar, BYTES, 250),
    file_of_set("shard, by its index", SHARD, read_tar_by_index, BYTES, 250),
    file_of_set("index", INDEX, read_index, BYTES, 350),
    file_of_set("manifest", MANIFEST, read_the_manifest, TEXT, 350),
    file_of_set("rejects", REJECTS, read_rows_of_rejects, TEXT, 300),
    *(
        file_of_set(f"set, {name} damaged", name, read_set, BYTES, 25)
        for name in (INDEX, MANIFEST, REJECTS, WIDS, SHARD)
    ),
    Reader("set on a hub", on_a_hub, read_from_hub, TEXT, 100),
    Reader("task", write_task, read_task, TEXT, 200),
    Reader("receipt", write_receipt, read_a_receipt, TEXT, 200),
    Reader("stopped build", write_state, go_on, TEXT, 25),
]
