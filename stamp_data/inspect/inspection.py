"""The one pass over the records: load, measure, raise flags, filter, add up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from stamp_data.inspect.concat import ConcatDataset
from stamp_data.inspect.flags import FLAGS, Finding
from stamp_data.inspect.reading import StatsReader, UnreadableRecord
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
        whole, tallies = Tally(), [Tally() for _ in dataset.sets]
        flags = {code: FlagCount(code, flag.severity, flag.title, 0, 0, []) for code, flag in FLAGS.items()}
        matched = flagged = 0
        for done, item in enumerate(StatsReader(dataset, selection).read(numbers, chosen)):
            if done % STRIDE == 0:
                progress(done, len(numbers), "statistics")
            if isinstance(item, RecordStats) and not item.shown:
                continue
            findings = _findings(item)
            for tally in (whole, tallies[dataset.number_of_set(item.number)]):
                if isinstance(item, RecordStats):
                    tally.add(item)
                tally.flags.update(FLAGS[finding.code].severity for finding in findings)
            matched += 1
            flagged += bool(findings)
            _count(flags, item, findings)
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
        summary = Summary(whole.flags["error"], whole.flags["warning"], whole.flags["info"], flagged)
        manifests = [one.manifest for one in dataset.sets]
        result = statistics(list(zip(manifests, tallies, strict=True)), whole, selection.budget)
        raised = [flag for flag in flags.values() if flag.count]
        return InspectReport(REPORT_SCHEMA, inputs, sampling, result, raised, summary)


def _findings(item: RecordStats | UnreadableRecord) -> list[Finding]:
    """Those that concern what is shown of a record; all of them where all of it is."""
    if isinstance(item, UnreadableRecord):
        return [item.finding]
    return item.findings if len(item.shown) == len(item.dialogues) else item.concerning(item.shown)


def _count(flags: dict[str, FlagCount], source: RecordStats | UnreadableRecord, findings: list[Finding]) -> None:
    """Add the findings of a record, and keep the first few of each flag as examples."""
    for code in {finding.code for finding in findings}:
        flags[code].records += 1
    for finding in findings:
        flag = flags[finding.code]
        flag.count += 1
        if len(flag.examples) < EXAMPLES:
            names = source.names(finding) if isinstance(source, RecordStats) else ("", "")
            flag.examples.append(Example(source.manifest.name, source.row.key, *names, finding.detail))


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
