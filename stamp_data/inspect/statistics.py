"""Adding up what is known of records per set, and the distributions that come out of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from stamp_data.inspect.flags import SEVERITIES
from stamp_data.inspect.record_stats import RecordStats
from stamp_data.inspect.report import Group, Histogram, Spread, Statistics
from stamp_schemas import Manifest, Settings

BINS = 24
PERCENTILES = (5, 50, 95)
_SPREADS = ("image_tokens", "total_tokens", "mask_area", "foreground_patches", "quantisation_iou")
DIGITS = 6  # kept in the report; enough for any reader, few enough to be the same on every machine


@dataclass
class Tally:
    """Numbers of one set (or of all). values: by the name that the report has for them, one entry per record, dialogue or
    target; texts: records by the unit of their texts; flags: findings by severity; rounds: joined
    dialogues by the number of their rounds.
    """

    records: int = 0
    targets: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    texts: Counter[Literal["tokens", "characters"]] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    rounds: Counter[int] = field(default_factory=Counter)
    values: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, stats: RecordStats) -> None:
        """Take in what is shown of a record."""
        values = self.values
        self.records += 1
        self.texts["characters" if stats.row.text_tokens is None else "tokens"] += 1
        if stats.row.image_tokens:
            values["image_tokens"].append(stats.row.image_tokens)
        for dialogue in stats.shown:
            self.kinds[dialogue.kind] += 1
            if dialogue.kind == "rounds":
                self.rounds[dialogue.turns // 2] += 1
            values["turns"].append(dialogue.turns)
            values["characters"].append(dialogue.chars)
            values["tokens"].append(dialogue.text_tokens)
            values["total_tokens"].append(dialogue.total_tokens)
        for index in sorted({target for dialogue in stats.shown for target in dialogue.targets}):
            self.targets += 1
            target = stats.targets[index]
            if target.area:
                values["mask_area"].append(target.area)
                values["foreground_patches"].append(target.patches)
                values["quantisation_iou"].append(target.iou)

    @property
    def text_unit(self) -> Literal["tokens", "characters", "mixed"]:
        return "mixed" if len(self.texts) > 1 else next(iter(self.texts), "characters")

    @property
    def text(self) -> list[float]:
        """Lengths of texts, in `text_unit`."""
        return self.values["characters" if self.text_unit == "characters" else "tokens"]


def statistics(sets: list[tuple[Manifest, Tally]], whole: Tally, budget: int | None) -> Statistics:
    """The statistics of sets and of all of them together."""
    groups = [_group(manifest.name, manifest.settings, tally) for manifest, tally in sets]
    return Statistics(_group("all", None, whole), groups, _histograms(whole, budget))


def _group(name: str, made: Settings | None, tally: Tally) -> Group:
    values, kinds, dialogues = tally.values, tally.kinds, tally.kinds.total()
    asking = max(dialogues - kinds["chat"], 1)
    return Group(
        set=name,
        source=made.dataset if made else "",
        split_by=made.split_by if made else "",
        split=made.split if made else "",
        records=tally.records,
        dialogues=dialogues,
        targets=tally.targets,
        no_target_percent=round(100 * kinds["no_target"] / asking, 2),
        multi_target_percent=round(100 * kinds["multi"] / asking, 2),
        chat_percent=round(100 * kinds["chat"] / max(dialogues, 1), 2),
        turns=round(sum(values["turns"]) / max(dialogues, 1), 2),
        text=_spread(tally.text),
        text_tokens=_spread(values["tokens"]),
        **{name: _spread(values[name]) for name in _SPREADS},
        flags={severity: tally.flags[severity] for severity in SEVERITIES},
        rounds=dict(sorted(tally.rounds.items())),
    )


def _spread(values: list[float]) -> Spread:
    if not values:
        return Spread(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    array = np.asarray(values, np.float64)
    numbers = (array.mean(), array.min(), *np.percentile(array, PERCENTILES), array.max())
    return Spread(len(values), *(round(float(number), DIGITS) for number in numbers))


def _histograms(tally: Tally, budget: int | None) -> list[Histogram]:
    values = tally.values
    unit = "characters" if tally.text_unit == "characters" else "tokens"
    return [
        _histogram("text", "Text per dialogue", unit, tally.text),
        _histogram("image_tokens", "Picture", "tokens", values["image_tokens"]),
        _histogram("total_tokens", "Whole dialogue", "tokens", values["total_tokens"], mark=budget),
        _histogram("mask_area", "Mask area", "share of the picture", values["mask_area"], scale="log"),
        _histogram("foreground_patches", "Foreground patches", "patches", values["foreground_patches"], scale="log"),
        _histogram("quantisation_iou", "Mask against its patches", "IoU", values["quantisation_iou"], bounds=(0, 1)),
    ]


def _histogram(
    name: str,
    title: str,
    unit: str,
    values: list[float],
    *,
    scale: Literal["linear", "log"] = "linear",
    bounds: tuple[float, float] | None = None,
    mark: float | None = None,
) -> Histogram:
    array = np.asarray(values, np.float64)
    array = array[array > 0] if scale == "log" else array
    if not array.size:
        return Histogram(name, title, unit, scale, [], [], mark)
    first, last = bounds or (array.min(), array.max())
    if first == last:
        first, last = (first / 2, last * 2) if scale == "log" else (first - 0.5, last + 0.5)
    edges = np.geomspace(first, last, BINS + 1) if scale == "log" else np.linspace(first, last, BINS + 1)
    edges[0], edges[-1] = first, last
    counts, _ = np.histogram(array, edges)
    return Histogram(name, title, unit, scale, [round(float(edge), DIGITS) for edge in edges], counts.tolist(), mark)
