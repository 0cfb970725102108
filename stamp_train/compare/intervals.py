"""Bootstrap intervals over what a comparison could have had otherwise: the records of a set, and the seeds of training.

Records, not sentences: those of a picture are right and wrong together, and drawing them one by one would make intervals too
short. Every draw takes as many records and as many seeds, with replacement; the same ones for every method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from stamp_train.eval.metrics import CONVENTIONS, CaseScore

DRAWS = 1000
LEVEL = 0.95
Sums = NDArray[np.float64]


class Interval(msgspec.Struct, frozen=True):
    """A ratio with the ends of its interval (`LEVEL`)."""

    value: float
    low: float
    high: float


class Scored(msgspec.Struct, frozen=True):
    """One mask of one case. record: of the set. score: its pixels. right: whether the words are; None if that is not asked."""

    record: str
    score: CaseScore
    right: bool | None = None


def intervals(seeds: Sequence[Sequence[Scored]], draws: int = DRAWS) -> dict[str, Interval]:
    """Metrics of a method on one set, by our own convention, with `text_accuracy` where words were asked for.

    seeds: what was scored, for each seed. A metric is the mean over the seeds. Left out is what has no case, as in
    `eval.metrics.Summary`. Empty for no seeds.
    """
    records = sorted({one.record for lines in seeds for one in lines})
    if not records:
        return {}
    parts = [_sums(lines, records) for lines in seeds]
    rng = np.random.default_rng(0)
    taken = [
        (rng.integers(len(seeds), size=len(seeds)), rng.integers(len(records), size=len(records))) for _ in range(draws)
    ]
    found = {}
    for metric in parts[0]:
        over, under = (np.stack([part[metric][side] for part in parts]) for side in (0, 1))
        if not under.any() and metric != "ciou":
            continue
        drawn = [_mean(over[np.ix_(some, rows)], under[np.ix_(some, rows)], metric) for some, rows in taken]
        low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        found[metric] = Interval(_mean(over, under, metric), float(low), float(high))
    if "n_acc" not in found:
        found.pop("t_acc", None)  # there is nothing to decide
    return found


def _mean(over: Sums, under: Sums, metric: str) -> float:
    """Mean over the seeds [S, R] of the ratio of sums; of sums that are zero nothing is known, but that no pixel is wrong."""
    above, below = over.sum(1), under.sum(1)
    empty = 1.0 if metric == "ciou" else np.nan
    ratios = np.divide(above, below, out=np.full(len(above), empty), where=below > 0)
    known = ratios[~np.isnan(ratios)]
    return float(known.mean()) if len(known) else float("nan")


def _sums(lines: Sequence[Scored], records: Sequence[str]) -> Mapping[str, tuple[Sums, Sums]]:
    """Metric -> its numerator and denominator for each record."""
    place = {record: number for number, record in enumerate(records)}
    names = ("ciou", "giou", "n_acc", "t_acc", "text_accuracy")
    sums = {name: (np.zeros(len(records)), np.zeros(len(records))) for name in names}

    def add(name: str, at: int, over: Any, under: Any = 1) -> None:
        sums[name][0][at] += over
        sums[name][1][at] += under

    for one in lines:
        at, terms = place[one.record], CONVENTIONS["stamp"].terms(one.score)
        add("ciou", at, terms.intersection, terms.union)
        add("giou", at, terms.iou)
        if one.score.no_target:
            add("n_acc", at, one.score.told_none)
        else:
            add("t_acc", at, not one.score.told_none)
        if one.right is not None:
            add("text_accuracy", at, one.right)
    return sums
