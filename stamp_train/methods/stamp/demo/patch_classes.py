"""A vision tower with random weights learns to name what it sees, while it learns to segment it.

Words and masks alone teach a random tower slowly: what tells a star from a cross is learned only once words choose
between the two, and words learn to choose only once the tower tells them apart. The records know the category of every
target, so one more loss has the tower say it, of every 14-pixel patch that a target covers by more than half, as
pretrained towers have learned to name pictures.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from stamp_data.grid import rle_coverage
from stamp_data.shards.reader import ShardSet
from stamp_schemas import Grid, Record, StampError
from stamp_schemas.recipe import Recipe
from stamp_schemas.record import FULL, IGNORE
from stamp_train.sequence.inputs import UNNAMED
from stamp_train.stream.stages import open_set


def categories(recipe: Recipe) -> list[str]:
    """The categories of the targets of all stages' sets, in order; a target of several is of none.

    Raises:
        StampError: there are fewer than two.
    """
    sets = list(dict.fromkeys(use.set for stage in recipe.stages for use in stage.sets))
    names: set[str] = set()
    for name in sets:
        with ShardSet(open_set(recipe.data, name)) as records:
            for row in records.rows:
                names.update(
                    *(target.categories for target in records.record(row).targets if len(target.categories) == 1)
                )
    if len(names) < 2:
        raise StampError(
            f"naming: the targets of {', '.join(sets)} have {len(names)} categories, and a choice takes two", "naming=0"
        )
    return sorted(names)


def name_patches(record: Record, grid: Grid, numbers: Mapping[str, int]) -> Tensor:
    """What covers each patch of a picture.

    Args:
        record: with a picture.
        grid: its 14-pixel patches.
        numbers: of the categories; targets of others are passed over.

    Returns:
        int64 [patches] in the order of Qwen2-VL's tower, which goes by 2x2 blocks; `UNNAMED` where no target covers more
        than half.
    """
    most = np.full((grid.height, grid.width), FULL // 2, np.uint8)
    names = np.full((grid.height, grid.width), UNNAMED, np.int64)
    for target in record.targets:
        if len(target.categories) != 1 or target.categories[0] not in numbers:
            continue
        covered = rle_coverage(target.rle, grid, target.ignore_rle)
        more = (covered > most) & (covered != IGNORE)
        most[more], names[more] = covered[more], numbers[target.categories[0]]
    blocks = names.reshape(grid.height // 2, 2, grid.width // 2, 2).transpose(0, 2, 1, 3)
    return torch.from_numpy(blocks.reshape(-1))
