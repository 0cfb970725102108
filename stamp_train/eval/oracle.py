"""What labels themselves score: a prediction as a perfect model would give it, which is the ceiling of any trained on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stamp_data.grid import coverage, patch_grid
from stamp_schemas import Grid, StampError
from stamp_schemas.record import FULL, IGNORE
from stamp_train.methods.patches import coverage_logits, sampled_labels
from stamp_train.methods.upsample import BILINEAR, Mask, Picture, to_mask

SOFT, HARD, SAMPLED = RULES = ("soft", "hard", "sampled")


def oracle(
    truth: Mask,
    min_tokens: int = 1024,
    max_tokens: int = 1280,
    *,
    side: int = 1,
    rule: str = SOFT,
    method: str = BILINEAR,
    image: Picture | None = None,
    ignore: Mask | None = None,
) -> Mask:
    """The mask, bool [height, width], that a model would answer which has learnt the labels of a true one without a fault.

    side: labels per patch, along one side. rule: `soft`, the fraction that is covered; `hard`, whether that is above one half;
    `sampled`, as the published trainer has it (`stamp_train.methods.patches.sampled_labels`), one label per patch. method: one
    of `stamp_train.methods.upsample.METHODS`; image: uint8 [height, width, 3], for one that looks at it. ignore: bool [height,
    width], pixels that count neither for nor against. StampError for no such rule, or one without labels of that side;
    ValueError for a picture longer than the model takes (`stamp_data.grid.patch_grid`).
    """
    height, width = truth.shape
    patches = patch_grid(height, width, min_tokens, max_tokens)
    grid = Grid(patches.height * side, patches.width * side)
    return decode_labels(make_labels(truth, grid, rule, ignore, side), height, width, method, image)


def make_labels(
    truth: Mask, grid: Grid, rule: str = SOFT, ignore: Mask | None = None, side: int = 1
) -> NDArray[np.uint8]:
    """Labels of a mask by one of `RULES`: uint8 [grid.height, grid.width], 0 to `FULL`, or `IGNORE`."""
    if rule not in RULES or (rule == SAMPLED and side != 1):
        raise StampError(f"no {rule!r} labels with {side}x{side} to a patch", f"choose one of {', '.join(RULES[:2])}")
    pixels = truth.astype(np.uint8)
    soft = coverage(pixels, grid, None if ignore is None else ignore.astype(np.uint8))
    if rule == SOFT:
        return soft
    if rule == SAMPLED:
        hard = sampled_labels(pixels, (grid.height, grid.width))
    else:
        hard = np.where(2 * soft.astype(int) > FULL, FULL, 0).astype(np.uint8)
    hard[soft == IGNORE] = IGNORE
    return hard


def decode_labels(
    labels: NDArray[np.uint8], height: int, width: int, method: str = BILINEAR, image: Picture | None = None
) -> Mask:
    """The mask that labels [h * side, w * side] decode to when a model gives them as its probabilities, bool [height, width].

    Cells to be ignored count as background. method: of upsampling, one of `stamp_train.methods.upsample.METHODS`. image: uint8
    [height, width, 3], for upsampling that looks at it.
    """
    return to_mask(coverage_logits(labels), height, width, method, image)
