"""The readouts that lost against `fine` in `head.py`, or won nothing over it: to 16 logits, as in `heads`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from stamp_train.methods.readout import Readout
from stamp_train.methods.stamp.heads import FineHead, by_rows
from stamp_train.methods.stamp.settings import StampSettings
from stamp_train.sequence.document import Grid
from stamp_train.sequence.inputs import Reading


class Design(Readout):
    """What all have in common."""

    side: ClassVar[int] = 4

    def forward(self, reading: Reading) -> dict[str, Tensor]:
        vision = reading.features.patches[reading.feature_rows].to(reading.states.dtype)
        return {"mask": self.cells(reading.states, vision, [mask.grid for mask in reading.masks])}

    def cells(self, states: Tensor, vision: Tensor, grids: Sequence[Grid]) -> Tensor:
        raise NotImplementedError  # every design has its own


class State(Design):
    """Sixteen logits straight from the state."""

    def __init__(self, hidden_size: int, vision_size: int, config: StampSettings) -> None:  # noqa: ARG002 - one signature of all designs
        super().__init__()
        self.out = nn.Linear(hidden_size, 16)

    def cells(self, states: Tensor, vision: Tensor, grids: Sequence[Grid]) -> Tensor:  # noqa: ARG002 - one signature of all designs
        return self.out(states)


class Concat(Design):
    """One hidden layer over the state and all four vision features of the token."""

    def __init__(self, hidden_size: int, vision_size: int, config: StampSettings) -> None:
        super().__init__()
        width = 4 * config.head_width
        self.norm = nn.LayerNorm(vision_size)
        self.hidden = nn.Linear(hidden_size + 4 * vision_size, width)
        self.out = nn.Linear(width, 16)

    def cells(self, states: Tensor, vision: Tensor, grids: Sequence[Grid]) -> Tensor:  # noqa: ARG002 - one signature of all designs
        joined = torch.cat([states, self.norm(vision).flatten(1)], dim=1)
        return self.out(nn.functional.gelu(self.hidden(joined)))


class Add(Design):
    """Per 14-pixel patch: state and vision feature are added, then one hidden layer."""

    def __init__(self, hidden_size: int, vision_size: int, config: StampSettings) -> None:
        super().__init__()
        width = config.head_width
        self.norm = nn.LayerNorm(vision_size)
        self.vision = nn.Linear(vision_size, width)
        self.state = nn.Linear(hidden_size, 4 * width)
        self.out = nn.Linear(width, 4)

    def joined(self, states: Tensor, vision: Tensor) -> Tensor:
        added = self.state(states).unflatten(-1, (4, -1)) + self.vision(self.norm(vision))
        return nn.functional.gelu(added)

    def cells(self, states: Tensor, vision: Tensor, grids: Sequence[Grid]) -> Tensor:  # noqa: ARG002 - one signature of all designs
        return by_rows(self.out(self.joined(states, vision)))


class ConvAdd(Add):
    """As `add`, then each 14-pixel patch looks at its eight neighbours: a depthwise 3 x 3 convolution, added."""

    def __init__(self, hidden_size: int, vision_size: int, config: StampSettings) -> None:
        super().__init__(hidden_size, vision_size, config)
        self.around = nn.Conv2d(config.head_width, config.head_width, 3, padding=1, groups=config.head_width)

    def cells(self, states: Tensor, vision: Tensor, grids: Sequence[Grid]) -> Tensor:
        joined = self.joined(states, vision)
        return by_rows(self.out(joined + around(self.around, joined, grids)))


class ConvFine(FineHead):
    """As `fine`, the one that was chosen, with the same convolution."""

    def __init__(self, hidden_size: int, vision_size: int, config: StampSettings) -> None:
        super().__init__(hidden_size, vision_size, config)
        self.around = nn.Conv2d(config.head_width, config.head_width, 3, padding=1, groups=config.head_width)

    def forward(self, reading: Reading) -> dict[str, Tensor]:
        vision = reading.features.patches[reading.feature_rows].to(reading.states.dtype)
        joined = self.joined(reading.states, vision)
        around_them = around(self.around, joined, [mask.grid for mask in reading.masks])
        return {"mask": by_rows(self.out(joined + around_them))}


def around(conv: nn.Conv2d, features: Tensor, grids: Sequence[Grid]) -> Tensor:
    """A convolution over the 14-pixel grid of every block: [M, 4, C] to [M, 4, C]."""
    found = []
    for part, (height, width) in zip(features.split([h * w for h, w in grids]), grids, strict=True):
        picture = part.reshape(height, width, 2, 2, -1).permute(4, 0, 2, 1, 3).reshape(1, -1, 2 * height, 2 * width)
        seen = conv(picture)[0].reshape(-1, height, 2, width, 2)
        found.append(nn.functional.gelu(seen).permute(1, 3, 2, 4, 0).reshape(part.shape))
    return torch.cat(found)


DESIGNS: dict[str, type[nn.Module]] = {
    "state": State,
    "concat": Concat,
    "add": Add,
    "add, conv": ConvAdd,
    "fine, conv": ConvFine,
}
