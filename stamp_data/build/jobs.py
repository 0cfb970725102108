"""What `stamp-data build NAME…` does: which datasets and splits are meant, and each of them built in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

import msgspec

from stamp_data.build.plan import SetFault
from stamp_data.build.split import Built, Progress, build_split, describe_inputs
from stamp_data.build.tokens import tokenizer_digest
from stamp_data.executors import Executor
from stamp_data.grid import check_sizes
from stamp_data.instructions.rounds import round_wording
from stamp_data.patches import read_patches
from stamp_data.shards.manifest import REJECTS
from stamp_data.shards.rejects import RejectLog, by_reason, reject_order, rejects_bytes
from stamp_data.sources import SOURCES, open_source
from stamp_data.sources.base import Reading, Source
from stamp_data.sources.jsonfile import OTHER_FORMAT
from stamp_data.sources.own_refer import own_set, own_sets
from stamp_data.tags import read_exclusions
from stamp_data.writing import write_atomic
from stamp_schemas import Settings, StampError, UsageFault, Wording
from stamp_schemas.manifest import PATCH, Crowd


class Job(msgspec.Struct, frozen=True):
    """One call of `build`. Fields are the options of the command; `Settings` explains those that it shares with it.

    own_name: of the set in REFER's format that `refer` stands for. patches: files of changes to records, each of what those
    before it leave.
    """

    names: tuple[str, ...]
    root: Path
    out: Path
    splits: tuple[str, ...] = ()
    split_by: str = ""
    own_name: str = ""
    seed: int = 0
    passes: int = 1
    rounds: int = 1
    min_tokens: int = 1024
    max_tokens: int = 1280
    factor: int = PATCH
    wording: Wording = "paper"
    shard_records: int = 512
    tokenizer: Path | None = None
    encoding: str = ""
    crowd: Crowd = "ignore"
    images: tuple[Path, ...] = ()
    follow_links: bool = False
    overwrite: bool = False
    patches: tuple[Path, ...] = ()
    exclude: tuple[Path, ...] = ()


def find_datasets(root: Path) -> list[tuple[str, str]]:
    """(dataset, split_by) of every family that lies under `root`, in the usual order, then of one's own sets of REFER's."""
    families = [kind for kind in SOURCES.values() if not kind.own]
    own = [own_set(name, root) for name in own_sets(root, tuple(SOURCES))]
    return [(kind.dataset, split_by) for kind in (*families, *own) for split_by in kind.find(root)]


def checked_images(folders: Sequence[Path]) -> tuple[Path, ...]:
    """The folders of pictures that someone named; UsageFault if one is none."""
    for folder in folders:
        if not folder.is_dir():
            raise UsageFault(f"--images {folder}: no such folder")
    return tuple(folders)


def open_sources(job: Job) -> list[Source]:
    """The sources that a job names, opened; `all` stands for whatever is there. Nothing is parsed yet."""
    if not job.root.exists():
        raise UsageFault(f"{job.root}: no such folder", "--root is the folder that holds refer_seg/, reason_seg/, …")
    encoding, images = checked_encoding(job.encoding), checked_images(job.images)
    reading = Reading(encoding, job.crowd, images, job.follow_links, others=job.rounds > 1)
    if "all" not in job.names:
        return [open_source(name, job.root, job.split_by, reading, job.own_name) for name in job.names]
    found = find_datasets(job.root)
    if not found:
        fault = StampError(
            f"{job.root}: no dataset found", "`stamp-data doctor ROOT` says what is looked for and where"
        )
        raise _explained(fault, job.root, "")
    return [open_source(name, job.root, split_by, reading) for name, split_by in found]


def run_job(job: Job, executor: Executor, progress: Progress) -> Iterator[Built]:
    """Build every split that the job asks for; yields each as it is sealed.

    A set whose data is at fault does not keep the others from being built: it is told of, as a StampError, at the end.
    """
    check_sizes(job.min_tokens, job.max_tokens, job.factor)
    if min(job.passes, job.shard_records) < 1:
        raise UsageFault(f"{job.passes} passes and {job.shard_records} records per shard", "at least one of each")
    most = len(round_wording().ordinals)
    if not 1 <= job.rounds <= most:
        raise UsageFault(f"{job.rounds} rounds in a dialogue", f"1 to {most} are possible; 1 joins none")
    tokenizer = tokenizer_digest(job.tokenizer) if job.tokenizer else ""
    patches = read_patches(job.patches)
    unused = set(patches)
    patched = len(unused)
    for name, lists in read_exclusions(job.exclude).items():
        patches[name] = [*patches.get(name, ()), *lists]
    faults: list[StampError] = []
    missing = set(job.splits)
    for source in open_sources(job):
        progress(0, 0, f"{source.name}: reading annotations")
        try:
            source.load()
        except StampError as fault:
            told = _explained(fault, job.root, source.format) if fault.hint == OTHER_FORMAT else fault
            faults.append(SetFault(told.message, told.hint))
            continue
        inputs = describe_inputs(source)
        missing.difference_update(source.splits())
        if not source.splits():
            faults.append(_without_splits(source, job.out))
        for split in _splits(source, job):
            settings = Settings(
                dataset=source.dataset,
                split_by=source.split_by,
                split=split,
                seed=job.seed,
                passes=job.passes,
                min_tokens=job.min_tokens,
                max_tokens=job.max_tokens,
                wording=job.wording,
                shard_records=job.shard_records,
                tokenizer=tokenizer,
                encoding=job.encoding,
                crowd=job.crowd,
                factor=msgspec.UNSET if job.factor == PATCH else job.factor,
                rounds=msgspec.UNSET if job.rounds == 1 else job.rounds,
            )
            label = f"{source.name}/{split}"
            unused.discard(label)

            def labelled(done: int, total: int, what: str, label: str = label) -> None:
                progress(done, total, f"{label}: {what}")

            try:
                yield build_split(
                    source,
                    settings,
                    job.out,
                    executor,
                    inputs=inputs,
                    patches=patches.get(label, ()),
                    tokenizer=job.tokenizer,
                    overwrite=job.overwrite,
                    progress=labelled,
                )
            except SetFault as fault:
                faults.append(_explained(fault, job.root, source.format) if source.own else fault)
    if faults:
        more = f"; {len(faults) - 1} more sets could not be built: " if len(faults) > 1 else ""
        raise StampError(f"{faults[0].message}{more}{'; '.join(fault.message for fault in faults[1:])}", faults[0].hint)
    if job.patches and unused and len(unused) == patched:
        raise UsageFault(f"the patch is of {', '.join(sorted(unused))}, and nothing of that was built")
    if missing:
        raise UsageFault(f"no dataset here has a split {min(missing)!r}", "without --split all of them are built")


def _explained(fault: StampError, root: Path, format_name: str) -> StampError:
    from stamp_data.sources.foreign import explained  # a table of formats, for those whose data is of another

    return explained(fault, root, format_name)


def _without_splits(source: Source, out: Path) -> SetFault:
    """The fault of files that hold no usable record of any split; rejects.jsonl in the set's folder has the reasons."""
    rejects = RejectLog()
    for _ in source.annotations("", rejects):
        raise AssertionError("a record of no split")
    message = f"{source.name}: no usable record in {source.inputs[0]}"
    if not rejects.rows:
        return SetFault(message, "is it the right file?")
    path = out / source.name / REJECTS
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, rejects_bytes(sorted(rejects.rows, key=reject_order)))
    return SetFault(f"{message}: {by_reason(rejects.rows)}", f"all reasons are in {path}")


def checked_encoding(name: str) -> str:
    """The name of an encoding of texts, or ""; UsageFault if Python knows none by that name."""
    try:
        "".encode(name or "utf-8")
        return name
    except (LookupError, UnicodeError, ValueError):  # ValueError: a NUL
        raise UsageFault(f"no encoding is called {name!r}", "for example gbk, shift_jis, cp1252, utf-16") from None


def _splits(source: Source, job: Job) -> list[str]:
    there = source.splits()
    unknown = [split for split in job.splits if split not in there]
    if unknown and len(job.names) == 1 and "all" not in job.names:
        guess = get_close_matches(unknown[0], there, n=1)
        hint = f"did you mean {guess[0]!r}? " if guess else ""
        raise UsageFault(f"{source.name} has no split {unknown[0]!r}", f"{hint}it has {', '.join(there)}")
    return [split for split in there if not job.splits or split in job.splits]
