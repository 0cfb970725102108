"""Adding up facts per set, and the distributions that come out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from stamp_data.inspect.facts import DialogueFacts, Facts
from stamp_data.inspect.flags import FLAGS, SEVERITIES, Finding
from stamp_data.inspect.report import Group, Histogram, Spread, Statistics
from stamp_schemas import Manifest

BINS = 24
PERCENTILES = (5, 50, 95)
DIGITS = 6  # kept in the report; enough for any reader, few enough to be the same on every machine


@dataclass
class Tally:
    """Numbers of one set (or of all), one entry per record, dialogue or target."""

    records: int = 0
    targets: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    turns: list[int] = field(default_factory=list)
    chars: list[int] = field(default_factory=list)
    text: list[float] = field(default_factory=list)
    image: list[int] = field(default_factory=list)
    total: list[float] = field(default_factory=list)
    area: list[float] = field(default_factory=list)
    patches: list[int] = field(default_factory=list)
    iou: list[float] = field(default_factory=list)
    flags: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SEVERITIES, 0))
    counted: bool = False  # text tokens were counted at build
    guessed: bool = False  # text tokens are estimated from characters

    def add(self, facts: Facts, dialogues: list[DialogueFacts], findings: list[Finding]) -> None:
        """Take in a record with those of its dialogues, targets and findings that count."""
        self.records += 1
        if facts.row.image_tokens:
            self.image.append(facts.row.image_tokens)
        self.counted |= facts.row.text_tokens is not None
        self.guessed |= facts.row.text_tokens is None
        for dialogue in dialogues:
            self.kinds[dialogue.kind] = self.kinds.get(dialogue.kind, 0) + 1
            self.turns.append(dialogue.turns)
            self.chars.append(dialogue.chars)
            self.text.append(dialogue.text_tokens)
            self.total.append(dialogue.total_tokens)
        for index in sorted({target for dialogue in dialogues for target in dialogue.targets}):
            self.targets += 1
            target = facts.targets[index]
            if target.area:
                self.area.append(target.area)
                self.patches.append(target.patches)
                self.iou.append(target.iou)
        for finding in findings:
            self.flags[FLAGS[finding.code].severity] += 1

    def merge(self, other: Tally) -> None:
        """Add another tally to this one."""
        self.records += other.records
        self.targets += other.targets
        self.counted |= other.counted
        self.guessed |= other.guessed
        for counts, more in ((self.kinds, other.kinds), (self.flags, other.flags)):
            for name, count in more.items():
                counts[name] = counts.get(name, 0) + count
        for name in ("turns", "chars", "text", "image", "total", "area", "patches", "iou"):
            getattr(self, name).extend(getattr(other, name))

    @property
    def text_unit(self) -> Literal["tokens", "characters", "mixed"]:
        return "mixed" if self.counted and self.guessed else "tokens" if self.counted else "characters"


def statistics(tallies: list[tuple[Manifest, Tally]], budget: int | None) -> Statistics:
    """The statistics of each set and of all together."""
    everything = Tally()
    for _, tally in tallies:
        everything.merge(tally)
    groups = [
        _group(manifest.name, manifest.settings.dataset, manifest.settings.split_by, manifest.settings.split, tally)
        for manifest, tally in tallies
    ]
    return Statistics(_group("all", "", "", "", everything), groups, _histograms(everything, budget))


def _group(name: str, source: str, split_by: str, split: str, tally: Tally) -> Group:
    asking = max(sum(count for kind, count in tally.kinds.items() if kind != "chat"), 1)
    dialogues = len(tally.turns)
    return Group(
        set=name,
        source=source,
        split_by=split_by,
        split=split,
        records=tally.records,
        dialogues=dialogues,
        targets=tally.targets,
        no_target_percent=round(100 * tally.kinds.get("no_target", 0) / asking, 2),
        multi_target_percent=round(100 * tally.kinds.get("multi", 0) / asking, 2),
        chat_percent=round(100 * tally.kinds.get("chat", 0) / max(dialogues, 1), 2),
        turns=round(sum(tally.turns) / max(dialogues, 1), 2),
        text=_spread(tally.chars if tally.text_unit == "characters" else tally.text),
        text_tokens=_spread(tally.text),
        image_tokens=_spread(tally.image),
        total_tokens=_spread(tally.total),
        mask_area=_spread(tally.area),
        foreground_patches=_spread(tally.patches),
        quantisation_iou=_spread(tally.iou),
        flags=dict(tally.flags),
    )


def _spread(values: list[float] | list[int]) -> Spread:
    if not values:
        return Spread(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    array = np.asarray(values, np.float64)
    low, middle, high = (round(float(value), DIGITS) for value in np.percentile(array, PERCENTILES))
    mean = round(float(array.mean()), DIGITS)
    return Spread(
        len(values), mean, round(float(array.min()), DIGITS), low, middle, high, round(float(array.max()), DIGITS)
    )


def _histograms(tally: Tally, budget: int | None) -> list[Histogram]:
    unit = tally.text_unit
    text = tally.chars if unit == "characters" else tally.text
    return [
        _histogram("text", "Text per dialogue", "characters" if unit == "characters" else "tokens", text),
        _histogram("image_tokens", "Picture", "tokens", tally.image),
        _histogram("total_tokens", "Whole dialogue", "tokens", tally.total, mark=budget),
        _histogram("mask_area", "Mask area", "share of the picture", tally.area, scale="log"),
        _histogram("foreground_patches", "Foreground patches", "patches", tally.patches, scale="log"),
        _histogram("quantisation_iou", "Mask against its patches", "IoU", tally.iou, low=0.0, high=1.0),
    ]


def _histogram(
    name: str,
    title: str,
    unit: str,
    values: list[float] | list[int],
    *,
    scale: Literal["linear", "log"] = "linear",
    low: float | None = None,
    high: float | None = None,
    mark: float | None = None,
) -> Histogram:
    array = np.asarray(values, np.float64)
    array = array[array > 0] if scale == "log" else array
    if not array.size:
        return Histogram(name, title, unit, scale, [], [], mark)
    first, last = array.min() if low is None else low, array.max() if high is None else high
    if first == last:
        first, last = (first / 2, last * 2) if scale == "log" else (first - 0.5, last + 0.5)
    edges = np.geomspace(first, last, BINS + 1) if scale == "log" else np.linspace(first, last, BINS + 1)
    edges[0], edges[-1] = first, last
    counts, _ = np.histogram(array, edges)
    return Histogram(name, title, unit, scale, [round(float(edge), DIGITS) for edge in edges], counts.tolist(), mark)
