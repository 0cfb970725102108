"""From answers to scores: masks at the picture's size, refined or not, each against its true mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec
import numpy as np
from torch import Tensor

from stamp_data import rle as rles
from stamp_schemas import RLE
from stamp_train.eval.cases import Case, ImageCases, Mask
from stamp_train.eval.metrics import CONVENTIONS, CaseScore, score_case
from stamp_train.generation.replies import Answer
from stamp_train.methods.upsample import to_mask
from stamp_train.predict.refine import Refiner

MASK_RULE = "mask k goes to target k, all that are left to the last target: with one target their union"
FREE, FORCED, REFINED = "free", "forced", "refined"
"""Modes: the model answers for itself; the true answer is given up to its last `<|seg|>`, so that only masks are drawn. Where
labels answer in its place, modes are names of `stamp_train.eval.representation`. `REFINED` in a variant's name
(`free+refined`) says that a refiner has redrawn the masks."""
DAMAGED = "damaged"


class Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One mask of one case in one variant: number `target` of its true masks, in a mode, and `+` the refiner's name.

    answer: what the model said, `<|seg|>` in its place; masks: how many the answer has. iou: under our own convention; score:
    whole numbers that every convention makes its metrics of, None for a damaged case, whose `fault` says why. flags: `no_seg`
    (no mask in the answer), `several_masks`, `fewer_masks` (than the case has true ones), `cut_off` (the answer hit its
    limit), `unrefined` (the refiner gave up), `damaged` (not scored). size: height and width of the picture; counts: the
    predicted mask, compressed COCO run lengths. round: as of `Case`.
    """

    set: str
    id: str
    target: int = 0
    variant: str = ""
    expression: str = ""
    answer: str = ""
    masks: int = 0
    iou: float = 0.0
    score: CaseScore | None = None
    flags: list[str] = []
    fault: str = ""
    size: tuple[int, int] = (0, 0)
    counts: str = ""
    round: int = 0

    def mask(self) -> Mask:
        """The predicted mask, bool [height, width] of the picture."""
        return rles.decode(RLE(self.size, self.counts)).astype(bool)


class Scorer:
    """Scores answers.

    upsampling: one of `stamp_train.methods.upsample.METHODS`. no_target_pixels: a mask of fewer pixels says that there is no
    target; 0: only one of none at all does. refiner: masks are scored as they are and as it redraws them.
    """

    def __init__(self, upsampling: str, no_target_pixels: int = 0, refiner: Refiner | None = None) -> None:
        self.upsampling, self.no_target_pixels, self.refiner = upsampling, no_target_pixels, refiner

    def lines(self, name: str, asked: ImageCases, mode: str, answers: Sequence[Answer]) -> Iterator[Line]:
        """Lines for the answers to a picture's cases of set `name`: one for each true mask, and another with the refiner's."""
        image = np.asarray(asked.image)
        height, width = image.shape[:2]
        for case, answer in zip(asked.cases, answers, strict=True):
            masks = [to_mask(logits, height, width, self.upsampling, image) for logits in answer.masks]
            yield from self._lines(name, case, mode, answer, masks)
            if self.refiner:
                failed = self.refiner.failed
                redrawn = self.refiner.refine_all(image, [logits.numpy() for logits in answer.masks], masks)
                unrefined = self.refiner.failed > failed
                yield from self._lines(name, case, f"{mode}+{REFINED}", answer, redrawn, unrefined)

    def _lines(
        self, name: str, case: Case, variant: str, answer: Answer, masks: Sequence[Mask], unrefined: bool = False
    ) -> Iterator[Line]:
        found, asked = len(masks), len(case.truths)
        flags = {
            "no_seg": not found,
            "several_masks": found > asked,
            "fewer_masks": 0 < found < asked,
            "cut_off": answer.finish == "length" and not variant.startswith(FORCED),
            "unrefined": unrefined,
        }
        for target, (truth, mask) in enumerate(zip(case.truths, _dealt(masks, case), strict=True)):
            score = score_case(mask, truth.mask, truth.ignore, not truth.mask.any(), self.no_target_pixels)
            yield Line(
                set=name,
                id=case.id,
                target=target,
                variant=variant,
                expression=case.expression,
                answer=answer.content,
                masks=found,
                iou=round(CONVENTIONS["stamp"].terms(score).iou, 6),
                score=score,
                flags=[flag for flag, raised in flags.items() if raised],
                size=(mask.shape[0], mask.shape[1]),
                counts=rles.encode(mask.astype(np.uint8)).counts,
                round=case.round,
            )


def true_answers(cases: Sequence[Case], masks: Iterator[Tensor]) -> list[Answer]:
    """The true answers to cases with other masks, logit pictures on the CPU that come in the order of the true ones."""
    return [Answer("", case.begin, (), tuple(islice(masks, len(case.truths))), "stop") for case in cases]


def _dealt(masks: Sequence[Mask], case: Case) -> list[Mask]:
    """For each true mask of a case what was predicted for it (`MASK_RULE`); nothing where there are too few masks."""
    last = len(case.truths) - 1
    groups = [*([mask] for mask in masks[:last]), masks[last:]]
    nothing = np.zeros_like(case.truths[0].mask)
    found = [np.logical_or.reduce([nothing, *group]) for group in groups]
    return found + [nothing] * (len(case.truths) - len(found))
