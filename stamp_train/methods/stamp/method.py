"""STAMP: after each `<|seg|>` one mask token for every merged patch, read in one pass that sees all of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from stamp_schemas import Record, UsageFault
from stamp_schemas.record import IGNORE
from stamp_train.methods.contract import Drawing, Label, Method
from stamp_train.methods.losses import Counts, Losses, scored_masks, text_count, text_loss
from stamp_train.methods.patches import check_coverage, coverage, coverage_logits, patches_to_grid, sampled_labels
from stamp_train.methods.readout import Readout
from stamp_train.methods.stamp.heads import HEADS
from stamp_train.methods.stamp.losses import LOSSES, mask_losses
from stamp_train.methods.stamp.settings import MASK, StampSettings
from stamp_train.sequence.document import Grid, Seg, TokenSpan, grid_axes
from stamp_train.sequence.inputs import MaskPlace, Outputs, Targets
from stamp_train.sequence.token_sequence import TokenSequence


class Stamp(Method):
    """See the module's text.

    Raises UsageFault for sampled labels within a merged patch, which the published code does not have.
    """

    settings: StampSettings

    def __init__(self, settings: StampSettings) -> None:
        self.settings = settings
        self.side = HEADS[settings.head].side
        self.loss = LOSSES[settings.loss]
        self.cells = ("sampled" if self.loss.label_rule == "sampled" else "soft", self.side)
        self.deepstack = settings.deepstack
        self.text_labels, self.divide_by = self.loss.text_labels, self.loss.divide_by
        if self.loss.label_rule == "sampled" and self.side != 1:
            raise UsageFault(
                "labels by point sampling are one per patch, the fine head wants more",
                "method.head=patch, or another loss",
            )

    def label(self, record: Record, target: int, grid: Grid, stored: Label | None) -> Label:
        """Coverage of the cells; point samples know no pixels to ignore, those stay ours."""
        exact = coverage(record, target, grid, self.side, stored)
        if self.loss.label_rule == "coverage":
            return exact
        from stamp_data.rle import decode  # only where there are records: a model runs without the data side

        labels = sampled_labels(decode(record.targets[target].rle), grid)
        return np.where(exact == IGNORE, np.uint8(IGNORE), labels)

    def ideal(self, label: Label) -> Tensor:
        """Coverage, as probabilities."""
        return coverage_logits(label)

    def lay_out(self, sequence: TokenSequence, seg: Seg, label: Label | None) -> None:
        """One mask token per merged patch, row by row, right after the `<|seg|>`; text goes on as if they were not there."""
        document = seg.document
        count = document.patches
        in_grid = self.settings.mask_positions == "grid"
        axes = grid_axes(document.grid) if in_grid else np.tile(np.arange(count), (3, 1))
        rows = sequence.put(
            TokenSpan(
                ids=np.full(count, sequence.chat.control[MASK], np.int64),
                positions=seg.position + 1 + axes,
                features=document.rows(),
                order=np.full(count, seg.order, np.int64),
                document=document.number,
                branch=seg.branch,
                block=sequence.new_block(),
            )
        )
        sequence.read(seg, rows)
        if label is not None:
            sequence.learn(check_coverage(label, document.grid, self.side, seg.name))

    def readout(self, hidden_size: int, vision_size: int) -> Readout:
        """The head that the settings name."""
        return HEADS[self.settings.head](hidden_size, vision_size, self.settings)

    def pictures(self, found: Mapping[str, Tensor], masks: Sequence[MaskPlace]) -> list[Tensor]:
        """[h * side, w * side] of each mask."""
        parts = torch.split(found["mask"], [mask.rows for mask in masks])
        return [patches_to_grid(logits, mask.grid) for logits, mask in zip(parts, masks, strict=True)]

    def draw(self, batch: Drawing, segs: Sequence[Seg]) -> list[Tensor]:
        """All in one pass over the cache."""
        sequence = batch.sequence()
        for seg in segs:
            self.lay_out(sequence, seg, None)
        inputs, states = batch.run_over_cache(sequence)
        found = batch.read_out(sequence.masks, states, inputs.feature_rows)
        return self.pictures({"mask": found["mask"].float().cpu()}, sequence.masks)

    def counts(self, targets: Targets) -> Counts:
        """Weight of the supervised tokens, and masks with a patch that counts."""
        return {"text": text_count(targets), "mask": scored_masks(targets)}

    def losses(self, outputs: Outputs, targets: Targets) -> Losses:
        """Text, and masks by the settings' loss."""
        text = text_loss(outputs.text_logits, targets.text_ids, targets.text_weights)
        masks = mask_losses(outputs.read["mask"], targets, self.loss).sum()
        counts = self.counts(targets)
        return {"text": (text, counts["text"]), "mask": (masks, counts["mask"])}
