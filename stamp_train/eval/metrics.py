"""One evaluator with named conventions: what each published evaluator computes of the same masks, formula and source included.

A case is one (picture, expression) pair. `score_case` looks at its pixels once and leaves whole numbers, of which every
convention makes its metrics: they can be stored, joined in any order and scored again under another convention. All
metrics are fractions of one.

    I, U     pixels of prediction and target, of prediction or target; ignored pixels are in neither
    IoU      of a case; gIoU is its mean over the cases
    cIoU     of a set, from the sums of I and U over its cases
    N-acc    fraction of the cases without a target that are told to have none
    T-acc    fraction of the cases with a target that are not told to have none
    Pr@t     fraction of the cases with a target whose IoU is t or more
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import msgspec
import numpy as np
from numpy.typing import NDArray

from stamp_schemas import StampError

Mask = NDArray[np.bool_]
THRESHOLDS = (0.7, 0.8, 0.9)


class CaseScore(msgspec.Struct, frozen=True):
    """What a case adds to a set's metrics, in pixels that are not ignored: those of prediction and target, of one or both, and
    of the target. no_target: the expression means nothing in the picture. told_none: the prediction says so."""

    intersection: int
    union: int
    target: int
    no_target: bool
    told_none: bool


def score_case(
    predicted: Mask, truth: Mask, ignore: Mask | None = None, no_target: bool = False, no_target_pixels: int = 0
) -> CaseScore:
    """Compare a predicted mask with the true one, both bool [height, width]; an answer without a mask is one without pixels.

    ignore: bool [height, width], pixels that count neither for nor against (value 255 in ReasonSeg's masks). no_target: the
    expression means nothing in the picture (gRefCOCO). no_target_pixels: a prediction of fewer pixels says that there is no
    target; 0: only one of none at all does. StampError for masks of different sizes, or a target's pixels where there is to be
    none.
    """
    if not predicted.shape == truth.shape == (truth.shape if ignore is None else ignore.shape):
        shapes = [mask.shape for mask in (predicted, truth, ignore) if mask is not None]
        sizes = ", ".join("×".join(map(str, shape)) for shape in shapes)
        raise StampError(f"masks of one case differ in size: {sizes}", "bring the prediction to the picture's size")
    # Masks from RLE lie column by column: with one of each kind, every step would take several times as long.
    predicted, truth = np.ascontiguousarray(predicted), np.ascontiguousarray(truth)
    if ignore is not None:
        counted = ~np.ascontiguousarray(ignore)
        predicted, truth = predicted & counted, truth & counted
    intersection, drawn, target = (int(np.count_nonzero(mask)) for mask in (predicted & truth, predicted, truth))
    if no_target and target:
        raise StampError(f"a case without a target has a mask of {target} pixels", "see stamp-data verify")
    union = drawn + target - intersection
    return CaseScore(intersection, union, target, no_target, told_none=drawn < max(no_target_pixels, 1))


@dataclass(frozen=True)
class Terms:
    """What a case adds under a convention: its IoU, and what goes into the sums of cIoU."""

    iou: float
    intersection: int
    union: int


@dataclass(frozen=True)
class Convention:
    """How an evaluator makes metrics of cases. source: the code that computes it.

    formulas: metric -> formula, in the terms of this module's text; a metric that is not here is not reported. terms: of a
    case. epsilon: added to the sum of unions in cIoU; count_epsilon: to the number of cases in gIoU.
    """

    source: str
    formulas: Mapping[str, str]
    terms: Callable[[CaseScore], Terms]
    epsilon: float = 0.0
    count_epsilon: float = 0.0


def _clean(case: CaseScore) -> Terms:
    intersection, union = (0, case.target) if case.told_none else (case.intersection, case.union)
    return Terms(intersection / union if union else 1.0, intersection, union)


def _lisa(case: CaseScore) -> Terms:
    iou = case.intersection / (case.union + 1e-5) if case.union else 1.0
    return Terms(iou, case.intersection, case.union)


def _rela(case: CaseScore) -> Terms:
    if case.no_target:
        return Terms(float(case.told_none), 0, 0 if case.told_none else case.union)
    intersection = 0 if case.told_none else case.intersection
    return Terms(intersection / case.union if case.union else 0.0, intersection, case.union)


_DECISIONS = {
    "n_acc": "cases without a target told to have none / all without",
    "t_acc": "cases with a target not told to have none / all with",
} | {f"pr@{threshold}": f"cases with a target and IoU >= {threshold} / all with" for threshold in THRESHOLDS}

CONVENTIONS: Mapping[str, Convention] = MappingProxyType(
    {
        "stamp": Convention(
            source="this project",
            formulas={
                "ciou": "sum I / sum U; a prediction that says there is no target counts as empty",
                "giou": "mean of I / U, of 1 where U = 0",
                **_DECISIONS,
            },
            terms=_clean,
        ),
        "lisa": Convention(
            source="LISA (dvlab-research/LISA): train_ds.py validate, utils/utils.py",
            formulas={
                "ciou": "sum I / (sum U + 1e-10)",
                "giou": "sum of I / (U + 1e-5), of 1 where U = 0, / (cases + 1e-5)",
            },
            terms=_lisa,
            epsilon=1e-10,
            count_epsilon=1e-5,
        ),
        "rela": Convention(
            source="ReLA (henghuiding/ReLA): gres_model/evaluation/refer_evaluation.py",
            formulas={
                "ciou": "sum I / sum U; I = 0 where there is no target or none is told; U = 0 where both hold",
                "giou": "mean of I / U; without a target 1 if none is told, else 0; a target told to be none 0",
                **_DECISIONS,
            },
            terms=_rela,
        ),
        "published": Convention(
            source="STAMP (HKUST-LongGroup/STAMP): eval/eval_refer_seg.py",
            formulas={
                "ciou": "sum I / (sum U + 1e-5)",
                "giou": "mean of I / (U + 1e-5), of 1 where U = 0",
            },
            terms=_lisa,
            epsilon=1e-5,
        ),
    }
)


def convention(name: str) -> Convention:
    """The convention of that name; StampError if there is none."""
    if name not in CONVENTIONS:
        raise StampError(f"no convention {name!r}", f"choose one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[name]


@dataclass
class Summary:
    """Metrics of a set from its cases. The same cases give the same numbers, bit by bit, in whatever order they came.

    Counts of pixels are whole numbers, and `math.fsum` rounds a sum of IoUs once, at its end.
    """

    cases: list[CaseScore] = field(default_factory=list)

    def add(self, case: CaseScore) -> None:
        """Take in one more case."""
        self.cases.append(case)

    def __add__(self, other: Summary) -> Summary:
        """Of the cases of both, as of two ranks."""
        return Summary(self.cases + other.cases)

    def metrics(self, name: str = "stamp") -> dict[str, float]:
        """Metrics under a convention, in the order of its formulas.

        Left out is what has no case: N-acc without cases that have no target, Pr@ without cases that have one (ReLA writes
        0 for them), T-acc unless there are both, since else there is nothing to decide, and all of it without cases.
        StampError if there is no such convention.

        >>> left, both = np.array([[True, False]]), np.array([[True, True]])
        >>> found = Summary([score_case(left, both), score_case(left, left)])
        >>> metrics = found.metrics()
        >>> round(metrics["ciou"], 3), metrics["giou"], metrics["pr@0.7"]
        (0.667, 0.75, 0.5)
        """
        rule = convention(name)
        if not self.cases:
            return {}
        terms = [rule.terms(case) for case in self.cases]
        union = sum(term.union for term in terms) + rule.epsilon
        found = {
            "ciou": sum(term.intersection for term in terms) / union if union else 1.0,
            "giou": math.fsum(term.iou for term in terms) / (len(terms) + rule.count_epsilon),
            **_decisions(self.cases, [term.iou for term in terms]),
        }
        return {metric: found[metric] for metric in rule.formulas if metric in found}


def _decisions(cases: Sequence[CaseScore], ious: Sequence[float]) -> dict[str, float]:
    """Rates of right decisions: whether there is a target, and whether it is found."""
    found: dict[str, float] = {}
    without = [case.told_none for case in cases if case.no_target]
    if without:
        found["n_acc"] = sum(without) / len(without)
    having = [(case.told_none, iou) for case, iou in zip(cases, ious, strict=True) if not case.no_target]
    if having and without:
        found["t_acc"] = sum(not told_none for told_none, _ in having) / len(having)
    if having:
        found |= {f"pr@{limit}": sum(iou >= limit for _, iou in having) / len(having) for limit in THRESHOLDS}
    return found
