"""Binary cross-entropy and Dice as LISA has them, and all who follow it: each mask a whole, with the published constants."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stamp_schemas.record import FULL, IGNORE
from stamp_train.methods.contract import Label, Method
from stamp_train.methods.losses import Counts, Losses, scored_masks, text_count, text_loss
from stamp_train.methods.patches import coverage_logits
from stamp_train.sequence.inputs import Outputs, Targets

_SCALE, _EPSILON = 1000.0, 1e-6  # Dice's sums are made small, and only that little is added to them


def mask_losses(logits: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
    """Cross-entropy, the mean over a mask's cells, and Dice, float32 [masks] each, not weighted.

    logits: float [R], as many as the targets have labels, computed in float32. Cells to be ignored count in neither, a mask
    of no others costs nothing. So little is added to Dice that of an empty mask any prediction, however small, costs 1.
    """
    scored = targets.labels[:, 0] != IGNORE
    wanted = targets.labels[:, 0].float() / FULL * scored
    logits = logits.float()
    found = logits.sigmoid() * scored
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * scored

    sizes = torch.bincount(targets.mask_of, minlength=targets.masks).tolist()

    def sums(values: Tensor) -> Tensor:
        # Each by itself: one running sum over so many cells, as of index_add, loses the last digits.
        return torch.stack([part.sum() for part in torch.split(values, sizes)]) if sizes else values[:0]

    cells = sums(scored.float())
    overlap = 2 * sums(found / _SCALE * wanted) + _EPSILON
    dice = 1 - overlap / (sums(found / _SCALE) + sums(wanted / _SCALE) + _EPSILON)
    return sums(entropy) / cells.clamp(min=1), dice * (cells > 0)


class CellMethod(Method):
    """A method that learns its masks' cells so; its settings hold `bce` and `dice`, the weights of the losses."""

    settings: Any

    def ideal(self, label: Label) -> Tensor:
        """Coverage, as probabilities."""
        return coverage_logits(label)

    def counts(self, targets: Targets) -> Counts:
        """Weight of the supervised tokens, and masks with a cell that counts."""
        masks = scored_masks(targets)
        return {"text": text_count(targets), "bce": masks, "dice": masks}

    def logits(self, outputs: Outputs, targets: Targets) -> list[Tensor]:  # noqa: ARG002 - of no use to most
        """Logits of the targets' cells; each of them is learned in full."""
        return [outputs.read["masks"]]

    def losses(self, outputs: Outputs, targets: Targets) -> Losses:
        """Text, and both losses of the masks, weighted."""
        text = text_loss(outputs.text_logits, targets.text_ids, targets.text_weights)
        sums = {"text": text, "bce": text.new_zeros(()), "dice": text.new_zeros(())}
        for logits in self.logits(outputs, targets):
            bce, dice = mask_losses(logits, targets)
            sums["bce"] = sums["bce"] + self.settings.bce * bce.sum()
            sums["dice"] = sums["dice"] + self.settings.dice * dice.sum()
        counts = self.counts(targets)
        return {name: (part, counts[name]) for name, part in sums.items()}
