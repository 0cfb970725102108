"""The one pass over the records: load, gather facts, raise flags, filter, add up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from stamp_data.inspect.corpus import Corpus
from stamp_data.inspect.facts import Facts
from stamp_data.inspect.flags import FLAGS, Finding
from stamp_data.inspect.look import Broken, Looker, counted_findings, matching
from stamp_data.inspect.report import (
    REPORT_SCHEMA,
    Example,
    FlagCount,
    InspectReport,
    Sampling,
    SetInput,
    Summary,
)
from stamp_data.inspect.statistics import Tally, statistics
from stamp_data.inspect.where import Filter
from stamp_data.shards.stores import Location
from stamp_schemas import Manifest
from stamp_schemas.record import RECORD_SCHEMA

DEFAULT_LIMIT = 2_000
PICTURES = 100  # decoded in one pass, spread evenly over the records
STRIDE = 200  # records between two reports of progress
EXAMPLES = 3  # kept per flag


@dataclass
class _FlagTally:
    """Findings by code, with the first few examples of each."""

    counts: dict[str, int] = field(default_factory=dict)
    records: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[Example]] = field(default_factory=dict)
    flagged: int = 0

    def add(self, source: Facts | Broken, findings: list[Finding]) -> None:
        self.flagged += bool(findings)
        for code in {finding.code for finding in findings}:
            self.records[code] = self.records.get(code, 0) + 1
        for finding in findings:
            self.counts[finding.code] = self.counts.get(finding.code, 0) + 1
            examples = self.examples.setdefault(finding.code, [])
            if len(examples) < EXAMPLES:
                examples.append(_example(source, finding))

    def flags(self) -> list[FlagCount]:
        return [
            FlagCount(code, flag.severity, flag.title, self.counts[code], self.records[code], self.examples[code])
            for code, flag in FLAGS.items()
            if code in self.counts
        ]

    def summary(self) -> Summary:
        totals = {"error": 0, "warning": 0, "info": 0}
        for code, count in self.counts.items():
            totals[FLAGS[code].severity] += count
        return Summary(totals["error"], totals["warning"], totals["info"], self.flagged)


def _example(source: Facts | Broken, finding: Finding) -> Example:
    dialogue, target = "", ""
    if isinstance(source, Facts):
        dialogue = source.record.dialogues[finding.dialogue].id if finding.dialogue >= 0 else ""
        target = source.record.targets[finding.target].id if finding.target >= 0 else ""
    return Example(source.manifest.name, source.row.key, dialogue, target, finding.detail)


def examine(
    paths: Sequence[Location],
    *,
    limit: int = DEFAULT_LIMIT,
    everything: bool = False,
    seed: int = 0,
    where: str | None = None,
    budget: int | None = None,
    side: int = 1,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> InspectReport:
    """Statistics and flags of every set at or below `paths`, from at most `limit` records (all if `everything`).

    where: a condition on dialogues (`where.COLUMNS`); records are counted with the dialogues that meet it, and not at
    all without one. budget: tokens that a packed sequence may have (STP-W009, and marked in the histogram).
    side: labels along a patch's side of the model that is to learn from the set.
    progress: told (records done, records in all, what is going on) now and then.
    """
    condition = Filter.parse(where) if where else None
    with Corpus(paths) as corpus:
        numbers = list(range(len(corpus))) if everything else corpus.sample(limit, seed)
        chosen = spread_pictures(corpus, numbers)
        tallies, flags, matched = [Tally() for _ in corpus.sets], _FlagTally(), 0
        for done, item in enumerate(Looker(corpus, budget, side).look(numbers, chosen)):
            if done % STRIDE == 0:
                progress(done, len(numbers), "statistics")
            tally = tallies[corpus.number_of_set(item.number)]
            if isinstance(item, Broken):
                findings = [item.finding]
                tally.flags["error"] += 1
            else:
                dialogues = matching(item, condition)
                if not dialogues:
                    continue
                findings = counted_findings(item, dialogues)
                tally.add(item, dialogues, findings)
            matched += 1
            flags.add(item, findings)
        shown = [(one.manifest, tally) for one, tally in zip(corpus.sets, tallies, strict=True)]
        result = statistics(shown, budget)
        progress(len(numbers), len(numbers), "statistics")
        everyone = Tally()
        for tally in tallies:
            everyone.counted |= tally.counted
            everyone.guessed |= tally.guessed
        sampling = Sampling(
            everything=len(numbers) == len(corpus),
            limit=limit,
            seed=seed,
            total=len(corpus),
            seen=len(numbers),
            where=where,
            matched=matched,
            dialogues=result.all.dialogues,
            pictures=len(chosen),
            text_unit=everyone.text_unit,
            budget=budget,
            side=side,
        )
        inputs = [_input(one.place, one.manifest) for one in corpus.sets]
        return InspectReport(REPORT_SCHEMA, inputs, sampling, result, flags.flags(), flags.summary())


def spread_pictures(corpus: Corpus, numbers: list[int]) -> frozenset[int]:
    """At most `PICTURES` of the records with a picture, evenly spread."""
    sizes = corpus.column("image_bytes")
    having = [number for number in numbers if sizes[number]]
    steps: list[int] = np.linspace(0, max(len(having) - 1, 0), min(PICTURES, len(having))).astype(int).tolist()
    return frozenset(having[step] for step in steps)


def _input(place: str, manifest: Manifest) -> SetInput:
    totals = manifest.totals
    return SetInput(
        path=place,
        name=manifest.name,
        digest=manifest.digest,
        record_schema=RECORD_SCHEMA,
        settings=manifest.settings,
        licence=manifest.licence,
        shards=len(manifest.shards),
        bytes=totals.bytes,
        records=totals.records,
        dialogues=totals.dialogues,
        targets=totals.targets,
        image_tokens=totals.image_tokens,
        rejects=totals.rejects,
    )
