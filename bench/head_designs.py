"""Small readouts that `head.py` compares: from a mask token's state and its patch's vision features to 16 logits.

The interface is that of `stamp_train.model.heads`. Logits of a 14-pixel patch are written quadrant by quadrant, as the
vision features come, and `by_rows` puts the sixteen of a token in rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from stamp_train.model.config import StampConfig
from stamp_train.model.heads import Grid


def by_rows(logits: Tensor) -> Tensor:
    """[M, 14-pixel patch, 7-pixel patch in it], each 2 x 2 row by row, as [M, 16], the 4 x 4 row by row."""
    return logits.unflatten(-1, (2, 2)).unflatten(1, (2, 2)).transpose(2, 3).flatten(1)


class Design(nn.Module):
    """What all have in common."""

    side: ClassVar[int] = 4
    needs_vision: ClassVar[bool] = True


class State(Design):
    """Sixteen logits straight from the state."""

    needs_vision: ClassVar[bool] = False

    def __init__(self, hidden_size: int, vision_size: int, config: StampConfig) -> None:  # noqa: ARG002
        super().__init__()
        self.out = nn.Linear(hidden_size, 16)

    def forward(self, states: Tensor, vision: Tensor | None, grids: Sequence[Grid]) -> Tensor:  # noqa: ARG002
        return self.out(states)


class Concat(Design):
    """One hidden layer over the state and all four vision features of the token."""

    def __init__(self, hidden_size: int, vision_size: int, config: StampConfig) -> None:
        super().__init__()
        width = 4 * config.head_width
        self.norm = nn.LayerNorm(vision_size)
        self.hidden = nn.Linear(hidden_size + 4 * vision_size, width)
        self.out = nn.Linear(width, 16)

    def forward(self, states: Tensor, vision: Tensor, grids: Sequence[Grid]) -> Tensor:  # noqa: ARG002
        joined = torch.cat([states, self.norm(vision).flatten(1)], dim=1)
        return self.out(nn.functional.gelu(self.hidden(joined)))


class Add(Design):
    """Per 14-pixel patch: state and vision feature are added, then one hidden layer."""

    def __init__(self, hidden_size: int, vision_size: int, config: StampConfig) -> None:
        super().__init__()
        width = config.head_width
        self.norm = nn.LayerNorm(vision_size)
        self.vision = nn.Linear(vision_size, width)
        self.state = nn.Linear(hidden_size, 4 * width)
        self.out = nn.Linear(width, 4)

    def forward(self, states: Tensor, vision: Tensor, grids: Sequence[Grid]) -> Tensor:  # noqa: ARG002
        joined = self.state(states).unflatten(-1, (4, -1)) + self.vision(self.norm(vision))
        return by_rows(self.out(nn.functional.gelu(joined)))


class Gate(Design):
    """Per 14-pixel patch: the state multiplies the vision feature, channel by channel, and shifts it."""

    def __init__(self, hidden_size: int, vision_size: int, config: StampConfig) -> None:
        super().__init__()
        width = config.head_width
        self.norm = nn.LayerNorm(vision_size)
        self.vision = nn.Linear(vision_size, width)
        self.gate = nn.Linear(hidden_size, width)
        self.shift = nn.Linear(hidden_size, 4 * width)
        self.out = nn.Linear(width, 4)

    def joined(self, states: Tensor, vision: Tensor) -> Tensor:
        seen = self.vision(self.norm(vision)) * self.gate(states)[:, None]
        return nn.functional.gelu(seen + self.shift(states).unflatten(-1, (4, -1)))

    def forward(self, states: Tensor, vision: Tensor, grids: Sequence[Grid]) -> Tensor:  # noqa: ARG002
        return by_rows(self.out(self.joined(states, vision)))


class Residual(Gate):
    """Sixteen logits straight from the state, corrected by what `gate` sees."""

    def __init__(self, hidden_size: int, vision_size: int, config: StampConfig) -> None:
        super().__init__(hidden_size, vision_size, config)
        self.coarse = nn.Linear(hidden_size, 16)

    def forward(self, states: Tensor, vision: Tensor, grids: Sequence[Grid]) -> Tensor:
        return self.coarse(states) + super().forward(states, vision, grids)


class Conv(Gate):
    """As `gate`, then each 14-pixel patch looks at its eight neighbours: a depthwise 3 x 3 convolution, added."""

    def __init__(self, hidden_size: int, vision_size: int, config: StampConfig) -> None:
        super().__init__(hidden_size, vision_size, config)
        width = config.head_width
        self.around = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, states: Tensor, vision: Tensor, grids: Sequence[Grid]) -> Tensor:
        joined = self.joined(states, vision)
        return by_rows(self.out(joined + around(self.around, joined, grids)))


class ConvAdd(Add):
    """As `add`, with the same convolution."""

    def __init__(self, hidden_size: int, vision_size: int, config: StampConfig) -> None:
        super().__init__(hidden_size, vision_size, config)
        width = config.head_width
        self.around = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, states: Tensor, vision: Tensor, grids: Sequence[Grid]) -> Tensor:
        joined = self.state(states).unflatten(-1, (4, -1)) + self.vision(self.norm(vision))
        joined = nn.functional.gelu(joined)
        return by_rows(self.out(joined + around(self.around, joined, grids)))


def around(conv: nn.Conv2d, features: Tensor, grids: Sequence[Grid]) -> Tensor:
    """A convolution over the 14-pixel grid of every block: [M, 4, C] to [M, 4, C]."""
    found = []
    for part, (height, width) in zip(features.split([h * w for h, w in grids]), grids, strict=True):
        picture = part.reshape(height, width, 2, 2, -1).permute(4, 0, 2, 1, 3).reshape(1, -1, 2 * height, 2 * width)
        seen = conv(picture)[0].reshape(-1, height, 2, width, 2)
        found.append(nn.functional.gelu(seen).permute(1, 3, 2, 4, 0).reshape(part.shape))
    return torch.cat(found)


DESIGNS: dict[str, type[Design]] = {
    "state": State,
    "concat": Concat,
    "add": Add,
    "gate": Gate,
    "residual": Residual,
    "conv add": ConvAdd,
    "conv gate": Conv,
}
