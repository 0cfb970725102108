"""The losses of STAMP: text, masks, and what a demo adds to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stamp_schemas.record import FULL, IGNORE
from stamp_train.backbones.modeling import StampOutput
from stamp_train.methods.losses import Counts, Losses
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.inputs import UNNAMED, Targets


@dataclass(frozen=True)
class LossSettings:
    """What is summed, and how it is divided.

    Attributes:
        bce: weight of the binary cross-entropy of a mask.
        dice: weight of its Dice loss.
        dice_smooth: added above and below in Dice.
        hard_labels: patches are foreground or not (coverage above one half) instead of covered to a fraction.
        label_rule: what the layout is to be given as coverage: the exact `coverage` of `stamp_data.grid`, or what
            `stamp_train.methods.stamp.labels.sampled_labels` makes, for which the head must be `patch`.
        text_labels: which tokens are supervised, for `LayoutOptions.text_labels`.
        divide_by: `global` counts, or those of the `micro` batch.
        naming: weight of the loss of the patches' names (`stamp_train.methods.stamp.demo.patch_classes`).
        early: weight of the masks' loss as the last layer but one would have them (deep supervision; Carion et al.,
            "End-to-End Object Detection with Transformers", ECCV 2020, do it at all layers).
    """

    bce: float = 1.0
    dice: float = 1.0
    dice_smooth: float = 1.0
    hard_labels: bool = False
    label_rule: str = "coverage"
    text_labels: str = "answers"
    divide_by: str = "global"
    naming: float = 0.0
    early: float = 0.0


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


def loss_settings(name: str) -> LossSettings:
    """The settings of that name.

    Raises:
        StampModelError: there are none.
    """
    if name not in LOSSES:
        raise StampModelError(f"no loss {name!r}", fix=f"choose one of {', '.join(LOSSES)}")
    return LOSSES[name]


@dataclass(frozen=True)
class StampLosses:
    """The losses of STAMP under given settings (`stamp_train.methods.losses.Objective`)."""

    settings: LossSettings = LOSSES["default"]

    @property
    def divide_by(self) -> str:
        return self.settings.divide_by

    @property
    def asked(self) -> dict[str, Any]:
        return {"early": True} if self.settings.early else {}

    def count(self, targets: Targets) -> Counts:
        return count(targets, self.settings)

    def losses(self, output: StampOutput, targets: Targets) -> Losses:
        return losses(output, targets, self.settings)


def count(targets: Targets, settings: LossSettings) -> Counts:
    """By name: weight of the supervised tokens, masks (twice, where early ones are learned too), patches with a name."""
    counts = {"text": float(targets.text_weights.sum()), "mask": float(_scored_masks(targets).sum())}
    if settings.naming:
        counts["names"] = float((targets.names != UNNAMED).sum())
    if settings.early:
        counts["early"] = counts["mask"]
    return counts


def losses(output: StampOutput, targets: Targets, settings: LossSettings) -> Losses:
    """Every loss of one sequence that the settings give weight, by name: its weighted sum and its count."""
    found = {
        "text": text_loss(output.text_logits, targets.text_ids, targets.text_weights),
        "mask": mask_losses(output.mask_logits, targets, settings).sum(),
    }
    if settings.naming:
        found["names"] = settings.naming * naming_loss(output.name_logits, targets.names)
    elif output.name_logits is not None:
        found["text"] = found["text"] + 0 * output.name_logits.float().sum()  # DDP wants a gradient for every layer
    if settings.early:
        early = output.early_mask_logits
        none = found["mask"].new_zeros(())
        found["early"] = none if early is None else settings.early * mask_losses(early, targets, settings).sum()
    counts = count(targets, settings)
    return {name: (part, counts[name]) for name, part in found.items()}


def text_loss(logits: Tensor, ids: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of the cross-entropy of the next token (paper eq. 1).

    Args:
        logits: [T, V], any float type; computed in float32.
        ids: int64 [T].
        weights: float32 [T].
    """
    return (F.cross_entropy(logits.float(), ids, reduction="none") * weights).sum()


def naming_loss(logits: Tensor | None, names: Tensor) -> Tensor:
    """Sum of the cross-entropy of every patch that has a name.

    Args:
        logits: [P, names], any float type; computed in float32. None: there is nothing to learn.
        names: int64 [P]; empty for a sequence without images, of which nothing is learned.
    """
    if logits is None:
        return torch.zeros((), device=names.device)
    if not len(names):
        return 0 * logits.float().sum()  # not a plain zero: the layer has a gradient on every process
    return F.cross_entropy(logits.float(), names, ignore_index=UNNAMED, reduction="sum")


def mask_losses(logits: Tensor, targets: Targets, settings: LossSettings) -> Tensor:
    """Loss of every mask, float32 [masks]: mean BCE over its patches, and Dice over all of them (paper eq. 2).

    Patches to be ignored count in neither; a mask with no other patches has loss 0. Dice is 1 - (2 sum min(p, y) + s) /
    (sum p + sum y + s). For hard labels min(p, y) = p * y, the published form; for soft ones p * y would be best served
    by p = 0 or 1, min by p = y (the Dice semimetric loss, Wang et al., MICCAI 2023).

    Args:
        logits: [M, side * side], any float type; computed in float32.
        targets: of the same mask tokens.
        settings: weights and label rule.

    Raises:
        StampModelError: the head predicts another number of labels per patch than there are targets.
    """
    if logits.shape != targets.coverage.shape:
        raise StampModelError(
            f"mask logits are {tuple(logits.shape)}, their targets {tuple(targets.coverage.shape)}",
            fix="lay out with the side of the model's head: LayoutOptions.of(model.config)",
        )
    scored = targets.coverage != IGNORE
    labels = targets.coverage.float() / FULL
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


def _scored_masks(targets: Targets) -> Tensor:
    """Bool [masks]: which masks have a patch that counts."""
    scored = (targets.coverage != IGNORE).any(1).long()
    return torch.zeros(targets.masks, dtype=torch.int64, device=scored.device).index_add(0, targets.mask_of, scored) > 0
