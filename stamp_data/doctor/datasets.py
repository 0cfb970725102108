"""Whether one dataset under a root is whole and readable, compared with what is published about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

import msgspec

from stamp_data.doctor.published import Counts, Download, Published, published
from stamp_data.shards.rejects import RejectLog, by_reason
from stamp_data.sources.base import AS_USUAL, Reading, Source
from stamp_schemas import Annotation, Settings, StampError

SAMPLE = 8  # records made per split
_NOTHING = "nothing-usable"  # code of a split that a build would find no record in
_LOOKED_AT, _NAMED = 1_000, 8  # files of a folder, and those that are named
Level = Literal["ok", "warning", "error"]


class Finding(msgspec.Struct):
    """One remark. code: stable, kebab-case. remedy: what to do, "" if nothing."""

    level: Level
    code: str
    detail: str
    remedy: str = ""


class SplitReport(msgspec.Struct):
    """One split. opened: records of a sample that were made. unusable: their pictures that cannot be used. refused: raw
    inputs that a build would refuse, by reason.
    """

    split: str
    counts: Counts
    published: Counts | None
    opened: int
    unusable: int
    refused: dict[str, int]
    findings: list[Finding]


class DatasetReport(msgspec.Struct):
    """One dataset, split one way.

    state: `ready` can be built; `broken` has a file that cannot be read, or nothing that can be used; `half` lacks a file;
    `absent` has none.
    downloads: what is to be got. there: what of it is there, where it is not ready.
    """

    dataset: str
    split_by: str
    state: Literal["ready", "broken", "half", "absent"]
    splits: list[SplitReport]
    findings: list[Finding]
    downloads: list[Download]
    there: list[str] = []


def examine_dataset(kind: type[Source], root: Path, reading: Reading = AS_USUAL) -> list[DatasetReport]:
    """One report per way of splitting that is there, or one that says where to get the dataset."""
    found = kind.find(root)
    if found:
        # the ways of splitting share the instances file, so only the first is examined down to the pictures
        return [_examined(kind(root, split_by, reading), whole=number == 0) for number, split_by in enumerate(found)]
    if kind.dataset not in published():
        return []
    return [_unfound(kind(root))]


def _unfound(source: Source) -> DatasetReport:
    """A dataset whose annotations are not there, or not all of them; pictures alone make none."""
    report = DatasetReport(source.dataset, source.split_by, "absent", [], [], [])
    known = _note_parts(source, report)
    if _there(source.root, known.downloads):
        _mark_half(source, report)
    return report


def _note_parts(source: Source, report: DatasetReport) -> Published:
    """What of a dataset that cannot be built is there, and what is to be got."""
    known = published()[source.dataset]
    report.downloads = known.downloads + _missing_pictures(source, known.pictures, [])
    report.there = list(dict.fromkeys(_there(source.root, known.downloads + known.pictures)))
    return known


def _mark_half(source: Source, report: DatasetReport) -> None:
    report.state = "half"
    missing = _lack(source) or "it is not whole"
    report.findings.append(Finding("error", "half", f"{missing}; there: {', '.join(report.there)}"))


def _lack(source: Source) -> str:
    """Why annotation files are not there; "" if they are, readable or not."""
    try:
        _ = source.inputs
    except StampError as fault:
        return fault.message
    return ""


def _there(root: Path, parts: list[Download]) -> list[str]:
    """The first few files of each part, and folders that hold something."""
    found: list[str] = []
    for part in parts:
        folder = root / part.into
        if not part.into:  # a file of its own in the root
            found += [part.what] if (root / part.what).is_file() else []
        elif folder.is_dir():
            paths = sorted(islice(folder.iterdir(), _LOOKED_AT))
            files = [f"{part.into}/{path.name}" for path in paths if path.is_file()]
            found += files if len(files) <= _NAMED else [f"{part.into}/…"]
            found += [f"{part.into}/{path.name}/…" for path in paths if path.is_dir() and any(path.iterdir())]
    return found


def _examined(source: Source, whole: bool) -> DatasetReport:
    report = DatasetReport(source.dataset, source.split_by, "ready", [], [], [])
    try:
        if whole:
            _ = source.inputs
            source.load()
        else:
            source.load_splits()
    except StampError as fault:
        report.state = "broken"
        known_about = source.dataset in published()  # own data has nothing to download
        if known_about:
            _note_parts(source, report)
        if known_about and _lack(source):
            _mark_half(source, report)
        else:
            report.findings.append(Finding("error", "unreadable", fault.message, fault.hint))
        return report
    report.splits = [_split(source, split, whole) for split in source.splits()]
    if report.splits and all(any(one.code == _NOTHING for one in split.findings) for split in report.splits):
        report.state = "broken"
    known = published().get(source.dataset)
    for split in known.counts.get(source.split_by, {}) if known else {}:
        if split not in source.splits():
            report.findings.append(
                Finding(
                    "warning", "split-missing", f"no record of split {split}", "another release of the files has it"
                )
            )
    report.downloads = _missing_pictures(source, known.pictures, report.splits) if known else []
    for part in report.downloads:
        report.findings.append(Finding("error", "pictures-missing", f"no folder {part.into} ({part.what})"))
    return report


def _missing_pictures(source: Source, parts: list[Download], splits: Sequence[SplitReport] = ()) -> list[Download]:
    """The parts whose folder does not exist; some sets' pictures may lie in any of several usual places."""
    if source.image_folder:
        if any(split.opened > split.unusable for split in splits):
            return []
        parts = [Download(part.what, source.image_folder, part.url) for part in parts]
    return [part for part in parts if not any((root / part.into).is_dir() for root in source.roots)]


def _split(source: Source, split: str, whole: bool) -> SplitReport:
    report = SplitReport(split, Counts(), None, 0, 0, {}, [])
    if whole:
        rejects = RejectLog()
        sample = _count(source, split, rejects, report)
        _render(source, split, sample, report)
        _refusals(rejects, report)
        if not report.counts.images and not report.counts.sentences:
            detail = "a build would find no usable record"
            report.findings.append(
                Finding("error", _NOTHING, detail, "see what it refuses, or if it is the right file")
            )
    if counts := source.counts(split):
        report.counts = Counts(*counts)
    known = published().get(source.dataset)
    report.published = known.count(source.split_by, split) if known else None
    if report.published:
        _compare(report)
    return report


def _count(source: Source, split: str, rejects: RejectLog, report: SplitReport) -> list[Annotation]:
    """Count what the split yields; returns a sample with pictures, spread over the whole of it."""
    sample: list[Annotation] = []
    sentences = images = 0
    step = 1
    for annotation in source.annotations(split, rejects):
        sentences += annotation.expressions
        if annotation.image is None:
            continue
        if images % step == 0:
            sample.append(annotation)
            if len(sample) == 2 * SAMPLE:  # twice too many: keep every second and take half as many from here on
                sample, step = sample[::2], 2 * step
        images += 1
    report.counts = Counts(None, sentences, images)
    return sample[:: max(1, -(-len(sample) // SAMPLE))]


def _render(source: Source, split: str, sample: list[Annotation], report: SplitReport) -> None:
    """Make the records of the sample as a build would, to see what becomes of them."""
    from stamp_data.build.plan import (  # what an import of this module spares: numpy, Pillow, pycocotools
        Planned,
        locate,
    )
    from stamp_data.build.render import Renderer

    renderer = Renderer(
        source.roots, Settings(source.dataset, source.split_by, split), follow_links=source.reading.follow_links
    )
    pictures: list[str] = []
    losses: list[str] = []
    remedy = _REMEDIES["picture-unreadable"]
    for annotation in sample:
        assert annotation.image is not None, "the sample is of records with pictures"
        report.opened += 1
        rejects = RejectLog()
        try:
            renderer.render(Planned("sample", locate(annotation, source.finder).size, annotation), rejects)
        except OSError as fault:
            pictures.append(f"{annotation.image.path}: {fault.strerror}")
            continue
        lost = [row for row in rejects.rows if row.action == "dropped"]
        if lost and lost[0].file == annotation.image.path:
            pictures.append(lost[0].detail)
            remedy = _REMEDIES.get(lost[0].reason, "put a whole copy in its place") if len(pictures) == 1 else remedy
        elif lost:
            losses.append(f"{lost[0].file}: {lost[0].record}: {lost[0].reason}: {lost[0].detail}")
    report.unusable = len(pictures)
    _tell(report, "picture-unusable", "sampled pictures cannot be used", pictures, remedy)
    _tell(report, "record-refused", "sampled records would be refused in part or as a whole", losses, "")


_REMEDIES = {
    "picture-missing": "--images DIR names the folder that the pictures lie in; else download them",
    "path-outside-root": "--follow-links follows links that lead out of the root",
    "size-mismatch": "the annotations were made on pictures of other sizes",
    "picture-unreadable": "see that it is a file, and that it may be read",
}
"""What to do about a picture that cannot be used. Only of what is not there it can help to download it."""


def _tell(report: SplitReport, code: str, what: str, faults: list[str], remedy: str) -> None:
    if faults:
        level: Level = "error" if len(faults) == report.opened else "warning"
        detail = f"{len(faults)} of {report.opened} {what}, as: {faults[0]}"
        report.findings.append(Finding(level, code, detail, remedy))


def _refusals(rejects: RejectLog, report: SplitReport) -> None:
    report.refused = dict(sorted(Counter(row.reason for row in rejects.rows if row.action == "dropped").items()))
    if report.refused:
        counts = by_reason(rejects.rows)
        report.findings.append(Finding("warning", "refused", f"a build would refuse {counts}", "see its rejects.jsonl"))


def _compare(report: SplitReport) -> None:
    assert report.published is not None, "called only where something is published"
    names = Counts.__struct_fields__
    counts = [(what, getattr(report.counts, what), getattr(report.published, what)) for what in names]
    both = [(what, found, wanted) for what, found, wanted in counts if None not in (found, wanted)]
    if any(found != wanted for _, found, wanted in both):
        found = ", ".join(f"{number:,} {what}" for what, number, _ in both)
        detail = f"{found}; published are {', '.join(f'{number:,}' for *_, number in both)}"
        report.findings.append(Finding("warning", "other-count", detail))
