"""One embedding for a mask: nothing follows a `<|seg|>`; its mask is read from the state that predicts it, or from its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from stamp_data.grid import rle_coverage
from stamp_schemas import Grid as Shape
from stamp_schemas import Record
from stamp_train.methods.contract import Drawing, Label
from stamp_train.methods.embedding.dot import SIDE, DotHead
from stamp_train.methods.embedding.sam import SamHead, cells, drawn
from stamp_train.methods.embedding.settings import EmbeddingSettings
from stamp_train.methods.mask_losses import CellMethod
from stamp_train.methods.patches import as_pictures
from stamp_train.methods.readout import Readout
from stamp_train.sequence.document import Grid, Seg
from stamp_train.sequence.inputs import MaskPlace
from stamp_train.sequence.token_sequence import TokenSequence


class Embedding(CellMethod):
    """See the module's text."""

    settings: EmbeddingSettings

    def __init__(self, settings: EmbeddingSettings) -> None:
        self.settings = settings
        self.cells = None if settings.head == "sam" else ("soft", SIDE)
        self.over_cache = settings.read == "at"  # what predicts a `<|seg|>` has been computed when it is said

    def size(self, grid: Grid) -> tuple[int, int]:
        """Rows and columns of the masks of an image."""
        if self.settings.shape is None:
            return SIDE * grid[0], SIDE * grid[1]
        return cells(grid, self._drawn)

    @cached_property
    def _drawn(self) -> int:
        """Kept, since a configuration of SAM takes milliseconds to make, and every label asks for it."""
        return drawn(self.settings.shape or {})

    def label(self, record: Record, target: int, grid: Grid, stored: Label | None) -> Label:  # noqa: ARG002 - of another grid
        """Coverage of the cells."""
        info = record.targets[target]
        return rle_coverage(info.rle, Shape(*self.size(grid)), info.ignore_rle)

    def lay_out(self, sequence: TokenSequence, seg: Seg, label: Label | None) -> None:
        """No token; one row is read."""
        sequence.read(seg, [seg.row_before if self.settings.read == "published" else seg.row])
        if label is not None:
            sequence.learn(torch.from_numpy(label).reshape(-1, 1))

    def readout(self, hidden_size: int, vision_size: int) -> Readout:
        """The head that the settings name."""
        if self.settings.shape is None:
            return DotHead(hidden_size, vision_size, self.settings.width)
        return SamHead(hidden_size, self.settings.shape)

    def pictures(self, found: Mapping[str, Tensor], masks: Sequence[MaskPlace]) -> list[Tensor]:
        """Of the size that `size` says."""
        return as_pictures(found["masks"], [self.size(mask.grid) for mask in masks])

    def draw(self, batch: Drawing, segs: Sequence[Seg]) -> list[Tensor]:
        """From states that are there: no pass at all."""
        states = [seg.state_before if self.settings.read == "published" else seg.state for seg in segs]
        masks = [MaskPlace(seg, 1) for seg in segs]
        found = batch.read_out(masks, torch.stack([state for state in states if state is not None]))
        return self.pictures({"masks": found["masks"].float().cpu()}, masks)

    def begin_readout(self, readout: Readout, records: Callable[[], Iterable[Record]]) -> None:  # noqa: ARG002 - of no use here
        """With SAM's weights."""
        if isinstance(readout, SamHead) and self.settings.sam:
            readout.load(self.settings.sam)

    def prepare(self, network: nn.Module) -> None:
        """SAM's encoder keeps its weights, whatever adapters do."""
        for module in network.modules():
            if isinstance(module, SamHead):
                module.freeze()
