"""SELF1E: the state that predicts `<|seg|>` times the tower's pixels, refilled with the image as the language model sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stamp_schemas import Record
from stamp_schemas.record import FULL, IGNORE
from stamp_train.methods.contract import Drawing, Label
from stamp_train.methods.mask_losses import CellMethod
from stamp_train.methods.patches import as_pictures, coverage
from stamp_train.methods.readout import Readout
from stamp_train.methods.self1e.readout import SIDE, Self1eHead
from stamp_train.methods.self1e.settings import Self1eSettings
from stamp_train.sequence.document import Document, Grid, Ints, Seg, TokenSpan
from stamp_train.sequence.inputs import MaskPlace, Outputs, Targets
from stamp_train.sequence.token_sequence import TokenSequence

SHORT = 128  # pixels of the shorter side of masks that are learned as published, at most


class Self1e(CellMethod):
    """See the module's text."""

    settings: Self1eSettings

    def __init__(self, settings: Self1eSettings) -> None:
        self.settings = settings
        self.copies = settings.attention == "branch"
        self.cells = ("soft", SIDE) if settings.targets == "coverage" else None
        # All that is read has been computed when a `<|seg|>` is said.
        self.keeps_image = settings.attention == "none"
        self.over_cache = not self.keeps_image

    def label(self, record: Record, target: int, grid: Grid, stored: Label | None) -> Label:
        """Coverage of the cells, or the mask as a small picture."""
        if self.settings.targets == "resized":
            return resized(record, target)
        return coverage(record, target, grid, SIDE, stored)

    def lay_out(self, sequence: TokenSequence, seg: Seg, label: Label | None) -> None:
        """Copies of the image's tokens in their own places, which see the text up to the `<|seg|>` too; or no token."""
        document = seg.document
        rows = self.put_copies(sequence, seg) if self.copies else document.image_rows()
        sequence.read(seg, np.concatenate([[seg.row_before], rows]))
        if label is not None:
            sequence.learn(torch.from_numpy(label).reshape(-1, 1), label.shape)

    def put_copies(self, sequence: TokenSequence, seg: Seg) -> Ints:
        """Their rows."""
        document = seg.document
        return sequence.put(
            TokenSpan(
                ids=np.full(document.patches, sequence.chat.image_id, np.int64),
                positions=document.image_positions(),
                features=document.rows(),
                order=np.full(document.patches, seg.order, np.int64),
                document=document.number,
                branch=seg.branch,
                block=sequence.new_block(),
            )
        )

    def readout(self, hidden_size: int, vision_size: int) -> Readout:  # noqa: ARG002 - pixels come through the tower's merger
        """Three small networks."""
        return Self1eHead(hidden_size, shared=not self.copies)

    def pictures(self, found: Mapping[str, Tensor], masks: Sequence[MaskPlace]) -> list[Tensor]:
        """[4h, 4w] of each mask."""
        return as_pictures(found["masks"], _sizes(masks, SIDE))

    def draw(self, batch: Drawing, segs: Sequence[Seg]) -> list[Tensor]:
        """All in one pass: of copies over the cache, or of dialogues once more; or in none, from states that are there."""
        if self.settings.looks_ahead:
            masks, states = self.looked(batch, segs)
        else:
            masks = [MaskPlace(seg, 1 + seg.document.patches) for seg in segs]
            images = self.copied(batch, segs) if self.copies else [seg.document.image_states for seg in segs]
            states = torch.cat([_read(seg, image) for seg, image in zip(segs, images, strict=True)])
        found = batch.read_out(masks, states)
        return self.pictures({"masks": found["masks"].float().cpu()}, masks)

    def copied(self, batch: Drawing, segs: Sequence[Seg]) -> Sequence[Tensor]:
        """States [h * w, H] of the copies for each of some masks."""
        sequence = batch.sequence()
        for seg in segs:
            self.put_copies(sequence, seg)
        _, states = batch.run_over_cache(sequence)
        return torch.split(states, [seg.document.patches for seg in segs])

    def looked(self, batch: Drawing, segs: Sequence[Seg]) -> tuple[list[MaskPlace], Tensor]:
        """Some masks and the states that are read for them, of their dialogues with images that look ahead."""
        sequence = batch.sequence()
        dialogues = groupby(segs, key=lambda seg: (seg.document, seg.branch))
        for number, ((held, _), members) in enumerate(dialogues, start=1):
            document = Document(number, held.opening, held.grid, held.image, held.first_row, sequence.length)
            document.looks_for = sequence.chat.seg_id
            some = list(members)
            sequence.put(document.prefix())
            rows = sequence.put(document.text(some[0].ids, 1))
            for seg in some:
                row = int(rows[seg.at])
                self.lay_out(sequence, replace(seg, document=document, branch=1, row=row, row_before=row - 1), None)
        inputs, states = batch.run_alone(sequence)
        return sequence.masks, states[inputs.mask_rows]

    def logits(self, outputs: Outputs, targets: Targets) -> list[Tensor]:
        """At the full and at half the resolution."""
        found = []
        for name, side in (("masks", SIDE), ("low", SIDE // 2)):
            read = outputs.read[name].float()
            pictures = as_pictures(read, _sizes(outputs.masks, side))
            sized = [_resized(one, size) for one, size in zip(pictures, targets.sizes, strict=True)]
            found.append(torch.cat([*sized, read[:0]]))
        return found


def resized(record: Record, target: int) -> Label:
    """A mask resized bilinearly, without antialiasing, to at most `SHORT` on its shorter side: uint8 [h, w], 0 to `FULL`.

    Pixels that anything to be ignored is part of are `IGNORE`, which the published code does not have.
    """
    from stamp_data.rle import decode  # only where there are records: a model runs without the data side

    info = record.targets[target]
    label = np.round(_smaller(decode(info.rle)) * FULL).astype(np.uint8)
    if info.ignore_rle is not None:
        label[_smaller(decode(info.ignore_rle)) > 0] = IGNORE
    return label


def _smaller(mask: Label) -> np.ndarray:
    """float32 [h, w]."""
    height, width = mask.shape
    scale = min(1.0, SHORT / min(height, width))
    size = (int(height * scale), int(width * scale))
    picture = torch.from_numpy(np.ascontiguousarray(mask)).float()[None, None]
    return F.interpolate(picture, size=size, mode="bilinear")[0, 0].numpy()


def _sizes(masks: Sequence[MaskPlace], side: int) -> list[tuple[int, int]]:
    return [(side * mask.grid[0], side * mask.grid[1]) for mask in masks]


def _resized(picture: Tensor, size: tuple[int, ...]) -> Tensor:
    """Flat; of that size before."""
    return F.interpolate(picture[None, None], size=size, mode="bilinear").flatten()


def _read(seg: Seg, image: Tensor | None) -> Tensor:
    """States [1 + h * w, H] for a mask, as `lay_out` has them."""
    assert seg.state_before is not None and image is not None  # kept while the answer was read
    return torch.cat([seg.state_before[None], image])
