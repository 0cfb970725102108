"""Losses of masks as sums with counts, so that any split of a batch gives the same gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stamp_schemas.record import FULL, IGNORE
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.inputs import Targets


@dataclass(frozen=True)
class LossSettings:
    """What is summed, and how it is divided.

    bce, dice: weights of the binary cross-entropy of a mask and of its Dice loss. dice_smooth: added above and below in Dice.
    hard_labels: patches are foreground or not (coverage above one half) instead of covered to a fraction. label_rule: exact
    `coverage`, or `sampled` as by `methods.patches.sampled_labels`, for which the head must be `patch`. text_labels and
    divide_by: see `methods.contract.Method`.
    """

    bce: float = 1.0
    dice: float = 1.0
    dice_smooth: float = 1.0
    hard_labels: bool = False
    label_rule: str = "coverage"
    text_labels: str = "answers"
    divide_by: str = "global"


LOSSES: dict[str, LossSettings] = {
    # Soft coverage, decoded by smooth upsampling, keeps sub-patch outlines that hard labels cannot.
    "default": LossSettings(),
    # Paper section 3.3: BCE + Dice unweighted, two classes, text loss over the response.
    "paper": LossSettings(hard_labels=True),
    # The published trainer: 0.3 BCE + 0.7 Dice, every token supervised, labels by
    # point sampling, means over each micro-batch.
    "published": LossSettings(
        bce=0.3, dice=0.7, hard_labels=True, label_rule="sampled", text_labels="all", divide_by="micro"
    ),
}


def mask_losses(logits: Tensor, targets: Targets, settings: LossSettings) -> Tensor:
    """Loss of every mask, float32 [masks]: mean BCE over its patches, and Dice over all of them (paper eq. 2).

    Patches to be ignored count in neither; a mask with no other patches has loss 0. Dice is 1 - (2 sum min(p, y) + s) /
    (sum p + sum y + s). For hard labels min(p, y) = p * y, the published form; for soft ones p * y would be best served
    by p = 0 or 1, min by p = y (the Dice semimetric loss, Wang et al., MICCAI 2023). logits: [M, side * side], any float type,
    computed in float32. Raises StampModelError if the head predicts another number of labels per patch than there are targets.
    """
    given = targets.labels if targets.masks else targets.labels.new_zeros(0, logits.shape[1])
    if logits.shape != given.shape:
        raise StampModelError(
            f"mask logits are {tuple(logits.shape)}, their targets {tuple(given.shape)}",
            fix="lay out by the model's own method: Layout(chat, model.method)",
        )
    scored = given != IGNORE
    labels = given.float() / FULL
    if settings.hard_labels:
        labels = (labels > 0.5).float()
    labels = labels * scored
    logits = logits.float()
    probabilities = logits.sigmoid() * scored
    bce = F.binary_cross_entropy_with_logits(logits, labels, reduction="none") * scored

    def per_mask(values: Tensor) -> Tensor:
        return values.new_zeros(targets.masks).index_add(0, targets.mask_of, values.sum(1))

    patches = per_mask(scored.float())
    overlap = 2 * per_mask(torch.minimum(probabilities, labels)) + settings.dice_smooth
    dice = 1 - overlap / (per_mask(probabilities) + per_mask(labels) + settings.dice_smooth)
    losses = settings.bce * per_mask(bce) / patches.clamp(min=1) + settings.dice * dice
    return losses * (patches > 0)
