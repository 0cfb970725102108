"""A vision tower with random weights learns to name what it sees, while it learns to segment it.

Words and masks alone teach a random tower slowly: what tells a star from a cross is learned only once words choose
between the two, and words learn to choose only once the tower tells them apart. The records know the category of every
target, so one more loss has the tower say it, of every 14-pixel patch that a target covers by more than half, as
pretrained towers have learned to name pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stamp_schemas import Grid as Shape
from stamp_schemas import Record, StampError
from stamp_schemas.record import FULL, IGNORE
from stamp_train.sequence.document import Grid

UNNAMED = -100  # name of a patch of which nothing is known


def categories(records: Iterable[Record]) -> list[str]:
    """The categories of the targets of records, in order; a target of several is of none.

    Raises StampError if there are fewer than two.
    """
    names: set[str] = set()
    for record in records:
        names.update(*(target.categories for target in record.targets if len(target.categories) == 1))
    if len(names) < 2:
        raise StampError(
            f"naming: the targets of the sets have {len(names)} categories, and a choice takes two",
            "method.demo.naming=0",
        )
    return sorted(names)


def name_patches(record: Record, grid: Grid, numbers: Mapping[str, int]) -> Tensor:
    """What covers each patch of an image, grid: of its 14-pixel patches; targets of categories without a number are left out.

    int64 [patches] in the order of the tower, which goes by merged ones; `UNNAMED` where no target covers more than half.
    """
    from stamp_data.grid import rle_coverage  # only where there are records: a model runs without the data side

    most = np.full(grid, FULL // 2, np.uint8)
    names = np.full(grid, UNNAMED, np.int64)
    for target in record.targets:
        if len(target.categories) != 1 or target.categories[0] not in numbers:
            continue
        covered = rle_coverage(target.rle, Shape(*grid), target.ignore_rle)
        more = (covered > most) & (covered != IGNORE)
        most[more], names[more] = covered[more], numbers[target.categories[0]]
    blocks = names.reshape(grid[0] // 2, 2, grid[1] // 2, 2).transpose(0, 2, 1, 3)
    return torch.from_numpy(blocks.reshape(-1))


def naming_loss(logits: Tensor, names: Tensor) -> Tensor:
    """Sum of the cross-entropy of logits [P, names], in float32, of every patch that has a name: int64 [P]."""
    if not len(names):  # a sequence without images, of which nothing is learned
        return 0 * logits.float().sum()  # not a plain zero: the layer has a gradient on every process
    return F.cross_entropy(logits.float(), names, ignore_index=UNNAMED, reduction="sum")
