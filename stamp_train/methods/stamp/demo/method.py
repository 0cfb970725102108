"""STAMP with what the demo's small network from random weights needs in order to learn (`methods.stamp.settings.Demo`)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from stamp_schemas import Record, UsageFault
from stamp_train.methods.losses import Counts, Losses
from stamp_train.methods.readout import Readout
from stamp_train.methods.stamp.demo.attention_bias import begin_near, scale_readout
from stamp_train.methods.stamp.demo.heads import HELPED
from stamp_train.methods.stamp.demo.patch_classes import UNNAMED, name_patches, naming_loss
from stamp_train.methods.stamp.losses import mask_losses
from stamp_train.methods.stamp.method import Stamp
from stamp_train.methods.stamp.settings import Demo, StampSettings
from stamp_train.sequence.document import Grid
from stamp_train.sequence.inputs import Outputs, Targets


class DemoStamp(Stamp):
    """See the module's text."""

    def __init__(self, settings: StampSettings) -> None:
        super().__init__(settings)
        self.demo = settings.demo or Demo()
        self._numbers = {name: number for number, name in enumerate(self.demo.names)} if self.demo.naming else {}

    def image_label(self, record: Record, grid: Grid) -> Tensor | None:
        """The category of each patch of the tower, where the tower learns to name them."""
        return name_patches(record, (2 * grid[0], 2 * grid[1]), self._numbers) if self._numbers else None

    def readout(self, hidden_size: int, vision_size: int) -> Readout:
        """The head, told words of place, beside a layer that names patches."""
        return HELPED[self.settings.head](hidden_size, vision_size, self.settings)

    def counts(self, targets: Targets) -> Counts:
        """With the patches that have a name; early masks are as many as the others."""
        found = super().counts(targets)
        if self.demo.naming:
            found["names"] = float((targets.image_labels != UNNAMED).sum())
        if self.demo.early:
            found["early"] = found["mask"]
        return found

    def losses(self, outputs: Outputs, targets: Targets) -> Losses:
        """With those of names and of early masks, by their weights."""
        found, over = super().losses(outputs, targets), self.counts(targets)
        if self.demo.naming:
            found["names"] = (
                self.demo.naming * naming_loss(outputs.read["names"], targets.image_labels),
                over["names"],
            )
        elif self.demo.names:  # DDP wants a gradient for every layer
            found["text"] = (found["text"][0] + 0 * outputs.read["names"].float().sum(), over["text"])
        if self.demo.early:
            early = mask_losses(outputs.read["early"], targets, self.loss).sum()
            found["early"] = (self.demo.early * early, over["early"])
        return found

    def begin(self, network: nn.Module) -> None:
        """With a guess about images and sentences, and a louder readout."""
        if self.demo.near:
            begin_near(network)
        scale_readout(network, self.demo.readout)

    def prepare(self, network: nn.Module) -> None:
        """Freeze what the demo freezes. UsageFault where there is nothing to name with."""
        if self.demo.naming and not self.demo.names:
            raise UsageFault("naming takes a layer that this checkpoint lacks", "method.demo.naming=0")
        if self.demo.freeze_patches:
            visual: Any = network.model.visual  # type: ignore[union-attr]
            visual.patch_embed.requires_grad_(False)
        for module in network.modules():
            if isinstance(module, Readout):
                module.wants_earlier = self.demo.early > 0
