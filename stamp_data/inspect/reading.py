"""Reading records with their statistics and findings; a record that cannot be read becomes a finding, not an end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stamp_data import rle as rles
from stamp_data.inspect.checks import check
from stamp_data.inspect.concat import ConcatDataset
from stamp_data.inspect.filters import DialogueRow
from stamp_data.inspect.flags import Finding
from stamp_data.inspect.leaks import find_leaks
from stamp_data.inspect.record_stats import DialogueStats, RecordStats
from stamp_data.picture import check_picture
from stamp_data.pixels import thumbnail
from stamp_data.shards.index import IndexRow
from stamp_data.shards.stores import StoreFault
from stamp_schemas import Manifest, Record, StampError

if TYPE_CHECKING:
    from stamp_data.inspect.selection import Selection

PROBE = 64  # pixels: side at which a picture is decoded to see that it can be
UPRIGHT = 1  # the EXIF orientation that asks for nothing


@dataclass(frozen=True)
class UnreadableRecord:
    """A record that could not be read."""

    number: int
    manifest: Manifest
    row: IndexRow
    finding: Finding


class StatsReader:
    """Reads records by number, with statistics and findings, as a selection reckons."""

    def __init__(self, dataset: ConcatDataset, selection: Selection) -> None:
        self.dataset, self.selection = dataset, selection
        self.leaks = find_leaks(dataset)

    def read(
        self, numbers: Iterable[int], pictures: frozenset[int] = frozenset()
    ) -> Iterator[RecordStats | UnreadableRecord]:
        """Each record, in order. pictures: numbers of the records whose picture and masks are decoded as well."""
        for number, one, row in self.dataset.rows(numbers):
            try:
                record = one.record(row)
                _compare(record, row)
                stats = RecordStats(number, one.manifest, row, record, one.labels(row), side=self.selection.side)
                stats.findings = self._findings(stats, one.member(row, "image") if number in pictures else b"")
                stats.shown = self._matching(stats)
            except StoreFault:
                raise  # says nothing about the record
            except StampError as fault:
                yield UnreadableRecord(number, one.manifest, row, Finding("STP-E001", fault.message))
            else:
                yield stats

    def _matching(self, stats: RecordStats) -> list[DialogueStats]:
        condition = self.selection.condition
        return [one for one in stats.dialogues if condition is None or condition(DialogueRow(stats, one))]

    def _findings(self, stats: RecordStats, picture: bytes) -> list[Finding]:
        findings = check(stats)
        if leak := self.leaks.get(stats.number):
            findings.append(Finding("STP-W006", leak))
        if self.selection.budget is not None:
            findings += _over_budget(stats, self.selection.budget)
        if picture:
            findings += _picture_findings(stats, picture)
            findings += _mask_findings(stats)
        return findings


def _compare(record: Record, row: IndexRow) -> None:
    """StampError where record and index count differently: nothing could be said about such a record."""
    counts = {len(record.dialogues), row.dialogues, len(row.text_chars), len(row.text_tokens or row.text_chars)}
    if len(counts) > 1 or len(record.targets) != row.targets:
        raise StampError(
            f"{row.shard}: {row.member_name('json')} has {len(record.dialogues)} dialogues and {len(record.targets)} "
            f"targets, the index says {row.dialogues} and {row.targets}"
        )


def _over_budget(stats: RecordStats, budget: int) -> Iterator[Finding]:
    about = "" if stats.row.text_tokens else "about "
    for one in stats.dialogues:
        if one.total_tokens > budget:
            yield Finding("STP-W009", f"{about}{one.total_tokens:,.0f} tokens, the budget is {budget:,}", one.index)


def _picture_findings(stats: RecordStats, data: bytes) -> Iterator[Finding]:
    """What only the pixels show: that they can be decoded, their size, a rotation that viewers would apply."""
    name, image = stats.row.member_name("image"), stats.record.image
    try:
        thumbnail(data, name, PROBE)
        picture = check_picture(data, name)
    except StampError as fault:
        yield Finding("STP-E001", fault.message)
        return
    if image is not None and (picture.width, picture.height) != (image.width, image.height):
        size = f"{picture.width}×{picture.height}"
        yield Finding("STP-E002", f"the picture is {size}, its record says {image.width}×{image.height}")
    if picture.orientation != UPRIGHT:
        yield Finding("STP-W007", f"EXIF orientation {picture.orientation}")


def _mask_findings(stats: RecordStats) -> Iterator[Finding]:
    """Masks whose runs are no runs, or not as many as the picture has pixels."""
    for index, target in enumerate(stats.record.targets):
        for rle in filter(None, (target.rle, target.ignore_rle)):
            try:
                rles.checked_runs(*rle.size, rle.size, rle.counts)
            except (ValueError, OverflowError) as fault:
                yield Finding("STP-E001", f"target {target.id}: {fault}", target=index)
