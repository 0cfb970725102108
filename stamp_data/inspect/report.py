"""`stamp.inspect/1`: what an inspection found, as every renderer and `--json` has it."""

from __future__ import annotations

from typing import Literal

import msgspec

from stamp_data.inspect.flags import SEVERITIES, full_code
from stamp_schemas import Settings, UsageFault

REPORT_SCHEMA: Literal["stamp.inspect/1"] = "stamp.inspect/1"


class SetInput(msgspec.Struct):
    """One set that was inspected. Counts are those of its manifest: of all of it, not of the sample."""

    path: str
    name: str
    digest: str
    record_schema: str
    settings: Settings
    licence: str
    shards: int
    bytes: int
    records: int
    dialogues: int
    targets: int
    image_tokens: int
    rejects: int


class Sampling(msgspec.Struct):
    """How much was looked at. total, seen: records. matched, dialogues: those that `where` let through.

    pictures: decoded to see that they can be. text_unit: `characters` where no build counted tokens, `mixed` where some did.
    side: labels along a patch's side that flags reckon with.
    """

    everything: bool
    limit: int
    seed: int
    total: int
    seen: int
    where: str | None
    matched: int
    dialogues: int
    pictures: int
    text_unit: Literal["tokens", "characters", "mixed"]
    budget: int | None
    side: int


class Spread(msgspec.Struct):
    """Distribution of some numbers; zeros where there are none."""

    count: int
    mean: float
    min: float
    p5: float
    p50: float
    p95: float
    max: float


class Histogram(msgspec.Struct):
    """Counts of values in bins: bin i is [edges[i], edges[i + 1]), the last one closed. mark: the packing budget, if any."""

    name: str
    title: str
    unit: str
    scale: Literal["linear", "log"]
    edges: list[float]
    counts: list[int]
    mark: float | None = None


class Group(msgspec.Struct):
    """One source and split (or, as `all`, everything). Shares in percent of the dialogues that ask for masks.

    mask_area: share of the picture, 0–1, per target with a mask; foreground_patches and quantisation_iou likewise.
    text: per dialogue, in the unit of `Sampling.text_unit`. text_tokens, total_tokens: estimated where not counted.
    flags: findings per severity. rounds: dialogues by how many rounds they were joined of; empty where none were.
    """

    set: str
    source: str
    split_by: str
    split: str
    records: int
    dialogues: int
    targets: int
    no_target_percent: float
    multi_target_percent: float
    chat_percent: float
    turns: float
    text: Spread
    text_tokens: Spread
    image_tokens: Spread
    total_tokens: Spread
    mask_area: Spread
    foreground_patches: Spread
    quantisation_iou: Spread
    flags: dict[str, int]
    rounds: dict[int, int] = {}


class Statistics(msgspec.Struct):
    all: Group
    groups: list[Group]
    histograms: list[Histogram]


class Example(msgspec.Struct):
    set: str
    key: str
    dialogue: str
    target: str
    detail: str


class FlagCount(msgspec.Struct):
    """One code that was found. records: how many records it was found in; the first few examples."""

    code: str
    severity: str
    title: str
    count: int
    records: int
    examples: list[Example]


class Summary(msgspec.Struct):
    """Findings per severity, and records with at least one."""

    error: int
    warning: int
    info: int
    flagged_records: int


class InspectReport(msgspec.Struct):
    """The whole finding. Equal sets and arguments give equal reports, on any machine."""

    schema: Literal["stamp.inspect/1"]
    inputs: list[SetInput]
    sampling: Sampling
    statistics: Statistics
    flags: list[FlagCount]
    summary: Summary

    def first_line(self) -> str:
        """How much was looked at, in words: what every renderer says first."""
        sampling = self.sampling
        if sampling.seen == sampling.total:
            line = f"All {sampling.total:,} records"
        else:
            line = (
                f"Sample of {sampling.seen:,} of {sampling.total:,} records (seed {sampling.seed}; --all for every one)"
            )
        if sampling.where:
            line += f"; {sampling.matched:,} match --where {sampling.where}"
        return line


def objections_of(spec: str) -> tuple[set[str], set[str]]:
    """The severities (each with the graver ones) and codes that `--fail-on SPEC` names. UsageFault for another word."""
    levels, codes = set[str](), set[str]()
    for word in filter(None, (part.strip() for part in spec.split(","))):
        if word.lower() in SEVERITIES:
            levels.update(SEVERITIES[: [str(level) for level in SEVERITIES].index(word.lower()) + 1])
        else:
            try:
                codes.add(full_code(word))
            except UsageFault as fault:
                raise UsageFault(f"--fail-on {word!r} is neither a severity nor a flag", fault.hint) from None
    if not levels and not codes:
        raise UsageFault("--fail-on is empty", "for example: --fail-on error,STP-W003")
    return levels, codes


def failures(report: InspectReport, spec: str) -> list[FlagCount]:
    """The findings that `--fail-on SPEC` objects to. UsageFault as `objections_of`."""
    levels, codes = objections_of(spec)
    return [flag for flag in report.flags if flag.severity in levels or flag.code in codes]
