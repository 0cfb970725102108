"""Readouts: from the final states of mask tokens to foreground logits of sub-patches.

A readout gives `mask`, [M, side * side], for each mask token the logits of its patch cut into side by side cells, row by row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from stamp_train.methods.readout import Readout
from stamp_train.sequence.inputs import Reading

if TYPE_CHECKING:
    from stamp_train.methods.stamp.settings import StampSettings


class PatchHead(Readout, nn.Linear):
    """The published classifier: one logit per merged patch, from the state alone (`classifier.weight`, `.bias`)."""

    side: ClassVar[int] = 1

    def __init__(self, hidden_size: int, vision_size: int, settings: StampSettings) -> None:  # noqa: ARG002 - one signature
        nn.Linear.__init__(self, hidden_size, 1)

    def forward(self, reading: Reading) -> dict[str, Tensor]:  # type: ignore[override]  # a readout, not any linear map
        """See the module's text."""
        return {"mask": nn.Linear.forward(self, reading.states)}


class FineHead(Readout):
    """4x4 sub-patches of 7 pixels, from the token's state and the vision features of its four 14-pixel patches.

    The state says what is sought, the vision features, which no merge has blurred, where it is. So the state weighs the
    channels of the features: a product, which tells more than a sum (bench/head.py compares the designs). It also gives
    each 14-pixel patch an offset, which says where in the token's patch the object lies.
    """

    side: ClassVar[int] = 4

    def __init__(self, hidden_size: int, vision_size: int, settings: StampSettings) -> None:
        super().__init__()
        width = settings.head_width
        self.norm = nn.LayerNorm(vision_size)  # the tower ends unnormalised: its own merger begins with a norm too
        self.vision = nn.Linear(vision_size, width)
        self.state = nn.Linear(hidden_size, 5 * width)
        self.act = nn.GELU()
        self.out = nn.Linear(width, 4)

    def forward(self, reading: Reading) -> dict[str, Tensor]:
        """See the module's text."""
        vision = reading.features.patches[reading.feature_rows].to(reading.states.dtype)
        return {"mask": by_rows(self.out(self.joined(reading.states, vision)))}

    def joined(self, states: Tensor, vision: Tensor) -> Tensor:
        """State and vision features of every 14-pixel patch: [M, 4, width]."""
        weights, offsets = self.state(states).unflatten(-1, (5, -1)).split((1, 4), dim=1)
        joined: Tensor = self.act(weights * self.vision(self.norm(vision)) + offsets)
        return joined


def by_rows(logits: Tensor) -> Tensor:
    """[M, 14-pixel patch, 7-pixel patch in it], both 2x2 row by row, as [M, 16], the 4x4 row by row."""
    return logits.reshape(len(logits), 2, 2, 2, 2).transpose(2, 3).flatten(1)


HEADS: dict[str, type[PatchHead] | type[FineHead]] = {"patch": PatchHead, "fine": FineHead}
