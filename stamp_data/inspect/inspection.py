"""The one pass over the records: load, measure, raise flags, filter, add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from stamp_data.inspect.concat import ConcatDataset
from stamp_data.inspect.flags import FLAGS, Finding
from stamp_data.inspect.reading import UnreadableRecord
from stamp_data.inspect.record_stats import RecordStats
from stamp_data.inspect.report import REPORT_SCHEMA, Example, FlagCount, InspectReport, Sampling, SetInput, Summary
from stamp_data.inspect.selection import DEFAULT, Selection
from stamp_data.inspect.statistics import Tally, statistics
from stamp_data.shards.stores import Location
from stamp_schemas import Manifest
from stamp_schemas.record import RECORD_SCHEMA

DEFAULT_LIMIT = 2_000
PICTURES = 100  # decoded in one pass, spread evenly over the records
STRIDE = 200  # records between two reports of progress
EXAMPLES = 3  # kept per flag


@dataclass
class _Flags:
    """Findings by code, with the first few examples of each. flagged: records with any."""

    counts: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=dict)
    flagged: int = 0

    def add(self, source: RecordStats | UnreadableRecord, findings: list[Finding]) -> None:
        self.flagged += bool(findings)
        self.counts.update(finding.code for finding in findings)
        self.records.update({finding.code for finding in findings})
        for finding in findings:
            examples = self.examples.setdefault(finding.code, [])
            if len(examples) < EXAMPLES:
                names = source.names(finding) if isinstance(source, RecordStats) else ("", "")
                examples.append(Example(source.manifest.name, source.row.key, *names, finding.detail))

    def flags(self) -> list[FlagCount]:
        return [
            FlagCount(code, flag.severity, flag.title, self.counts[code], self.records[code], self.examples[code])
            for code, flag in FLAGS.items()
            if code in self.counts
        ]


def inspect_sets(
    paths: Sequence[Location],
    selection: Selection = DEFAULT,
    *,
    limit: int = DEFAULT_LIMIT,
    everything: bool = False,
    progress: Callable[[int, int, str], None] = lambda *_: None,
) -> InspectReport:
    """Statistics and flags of every set at or below `paths`, from at most `limit` records (all if `everything`).

    Records are counted with the dialogues that meet the selection's condition, and not at all without one.
    progress: told (records done, records in all, what is going on) now and then.
    """
    with ConcatDataset(paths) as dataset:
        numbers = list(range(len(dataset))) if everything else dataset.sample(limit, selection.seed)
        chosen = spread_pictures(dataset, numbers)
        tallies, flags, matched = [Tally() for _ in dataset.sets], _Flags(), 0
        for done, item in enumerate(selection.reader(dataset).read(numbers, chosen)):
            if done % STRIDE == 0:
                progress(done, len(numbers), "statistics")
            tally = tallies[dataset.number_of_set(item.number)]
            if isinstance(item, UnreadableRecord):
                findings = [item.finding]
                tally.flags["error"] += 1
            elif item.shown:
                is_whole = len(item.shown) == len(item.dialogues)
                findings = item.findings if is_whole else item.concerning(item.shown)
                tally.add(item, findings)
            else:
                continue
            matched += 1
            flags.add(item, findings)
        whole = Tally.of_all(tallies)
        manifests = [one.manifest for one in dataset.sets]
        shown = [(one.name, one.settings, tally) for one, tally in zip(manifests, tallies, strict=True)]
        progress(len(numbers), len(numbers), "statistics")
        sampling = Sampling(
            everything=len(numbers) == len(dataset),
            limit=limit,
            seed=selection.seed,
            total=len(dataset),
            seen=len(numbers),
            where=selection.where,
            matched=matched,
            dialogues=whole.kinds.total(),
            pictures=len(chosen),
            text_unit=whole.text_unit,
            budget=selection.budget,
            side=selection.side,
        )
        inputs = [_input(one.place, one.manifest) for one in dataset.sets]
        summary = Summary(whole.flags["error"], whole.flags["warning"], whole.flags["info"], flags.flagged)
        result = statistics(shown, whole, selection.budget)
        return InspectReport(REPORT_SCHEMA, inputs, sampling, result, flags.flags(), summary)


def spread_pictures(dataset: ConcatDataset, numbers: list[int]) -> frozenset[int]:
    """At most `PICTURES` of the records with a picture, evenly spread."""
    sizes = dataset.column("image_bytes")
    having = [number for number in numbers if sizes[number]]
    steps: list[int] = np.linspace(0, max(len(having) - 1, 0), min(PICTURES, len(having))).astype(int).tolist()
    return frozenset(having[step] for step in steps)


def _input(place: str, manifest: Manifest) -> SetInput:
    return SetInput(
        path=place,
        name=manifest.name,
        digest=manifest.digest,
        record_schema=RECORD_SCHEMA,
        settings=manifest.settings,
        licence=manifest.licence,
        shards=len(manifest.shards),
        **msgspec.structs.asdict(manifest.totals),
    )
