"""Reading records as facts with findings; a record that cannot be read becomes a finding, not an end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stamp_data import rle as rles
from stamp_data.inspect.checks import check
from stamp_data.inspect.columns import dialogue_row
from stamp_data.inspect.corpus import Corpus
from stamp_data.inspect.facts import DialogueFacts, Facts
from stamp_data.inspect.flags import Finding
from stamp_data.inspect.leaks import find_leaks
from stamp_data.inspect.where import Filter
from stamp_data.picture import check_picture
from stamp_data.pixels import thumbnail
from stamp_data.shards.index import IndexRow
from stamp_data.shards.stores import StoreFault
from stamp_schemas import Manifest, Record, StampError

PROBE = 64  # pixels: side at which a picture is decoded to see that it can be
UPRIGHT = 1  # the EXIF orientation that asks for nothing


@dataclass(frozen=True)
class Broken:
    """A record that could not be read."""

    number: int
    manifest: Manifest
    row: IndexRow
    finding: Finding


class Looker:
    """Turns record numbers of a corpus into facts with findings. budget: tokens, for STP-W009. side: see `Facts`."""

    def __init__(self, corpus: Corpus, budget: int | None = None, side: int = 1) -> None:
        self.corpus = corpus
        self.budget, self.side = budget, side
        self.leaks = find_leaks(corpus)

    def look(self, numbers: Iterable[int], pictures: frozenset[int] = frozenset()) -> Iterator[Facts | Broken]:
        """Facts of each record, in order. pictures: numbers of the records whose picture and masks are decoded as well."""
        for number, position, row in self.corpus.rows(numbers):
            one = self.corpus.open(position)
            try:
                record = one.record(row)
                _compare(record, row)
                facts = Facts(number, one.manifest, row, record, one.labels(row), side=self.side)
                facts.findings = self._findings(facts, one.member(row, "image") if number in pictures else b"")
            except StoreFault:
                raise  # says nothing about the record
            except StampError as fault:
                yield Broken(number, one.manifest, row, Finding("STP-E001", fault.message))
            else:
                yield facts

    def _findings(self, facts: Facts, picture: bytes) -> list[Finding]:
        findings = check(facts)
        if leak := self.leaks.get(facts.number):
            findings.append(Finding("STP-W006", leak))
        if self.budget is not None:
            findings += _over_budget(facts, self.budget)
        if picture:
            findings += _picture_findings(facts, picture)
            findings += _mask_findings(facts)
        return findings


def _compare(record: Record, row: IndexRow) -> None:
    """StampError where record and index count differently: nothing could be said about such a record."""
    counts = {len(record.dialogues), row.dialogues, len(row.text_chars), len(row.text_tokens or row.text_chars)}
    if len(counts) > 1 or len(record.targets) != row.targets:
        raise StampError(
            f"{row.shard}: {row.member_name('json')} has {len(record.dialogues)} dialogues and {len(record.targets)} "
            f"targets, the index says {row.dialogues} and {row.targets}"
        )


def _over_budget(facts: Facts, budget: int) -> Iterator[Finding]:
    about = "" if facts.row.text_tokens else "about "
    for one in facts.dialogues:
        if one.total_tokens > budget:
            yield Finding("STP-W009", f"{about}{one.total_tokens:,.0f} tokens, the budget is {budget:,}", one.index)


def _picture_findings(facts: Facts, data: bytes) -> Iterator[Finding]:
    """What only the pixels show: that they can be decoded, their size, a rotation that viewers would apply."""
    name, image = facts.row.member_name("image"), facts.record.image
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


def _mask_findings(facts: Facts) -> Iterator[Finding]:
    """Masks whose runs are no runs, or not as many as the picture has pixels."""
    for index, target in enumerate(facts.record.targets):
        for rle in filter(None, (target.rle, target.ignore_rle)):
            try:
                rles.checked_runs(*rle.size, rle.size, rle.counts)
            except (ValueError, OverflowError) as fault:
                yield Finding("STP-E001", f"target {target.id}: {fault}", target=index)


def matching(facts: Facts, condition: Filter | None) -> list[DialogueFacts]:
    """The dialogues of a record that a condition lets through; all without one."""
    if condition is None:
        return facts.dialogues
    return [dialogue for dialogue in facts.dialogues if condition(dialogue_row(facts, dialogue))]


def counted_findings(facts: Facts, dialogues: list[DialogueFacts]) -> list[Finding]:
    """The findings that concern these dialogues, or the record as a whole."""
    if len(dialogues) == len(facts.dialogues):
        return facts.findings
    indices = {index for one in dialogues for index in (one.index, one.twin)}
    targets = {target for dialogue in dialogues for target in dialogue.targets}
    return [
        finding
        for finding in facts.findings
        if (finding.dialogue < 0 or finding.dialogue in indices) and (finding.target < 0 or finding.target in targets)
    ]
