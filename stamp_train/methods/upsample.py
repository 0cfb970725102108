"""From the model's logit pictures to masks at the picture's size: the one place where this is decided.

A logit picture is float [h * side, w * side], one value for each cell of the patch grid, foreground above 0. All methods end
in probabilities, float32 [height, width], foreground above 0.5.
"""

from __future__ import annotations

from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from stamp_schemas import UsageFault
from stamp_schemas.choices import Upsampling
from stamp_train.sequence.errors import StampModelError

BILINEAR, PUBLISHED, GUIDED = METHODS = get_args(Upsampling)
_FLAT = 1e-4  # variance of colours (0 to 1) that counts for nothing: a standard deviation of a hundredth

Mask = NDArray[np.bool_]
Picture = NDArray[np.uint8]


def probabilities(
    logits: Tensor, height: int, width: int, method: str = BILINEAR, image: Picture | None = None
) -> Tensor:
    """Mask probabilities at the picture's size.

    - `bilinear`: the cells' probabilities, interpolated between cell centres. A patch that is covered in part moves the
      outline there: what soft labels are for.
    - `published`: cells with a logit above 0, enlarged to the nearest; values are 0 and 1 (STAMP, `eval/eval_refer_seg.py`).
    - `guided`: the outline within the cells follows the colours of the picture (see `_guided`).

    logits: [h * side, w * side], any float type, on any device, which is that of the result, float32 [height, width]. image:
    uint8 [height, width, 3], the picture itself; only `guided` looks at it, and StampModelError says that it lacks or is of
    another size. UsageFault for no such method.
    """
    check_method(method)
    if method == PUBLISHED:
        # In double precision, as there: in single, some pixels between two cells fall to the other.
        hard = (logits > 0).double()
        return F.interpolate(hard[None, None], size=(height, width), mode="nearest")[0, 0].float()
    cells = logits.float().sigmoid()
    if method == BILINEAR:
        return _between_centres(cells[None], height, width)[0]
    if image is None or image.shape != (height, width, 3):
        given = "no picture" if image is None else f"one of {'×'.join(map(str, image.shape))}"
        raise StampModelError(
            f"guided upsampling to {height}×{width} was given {given}", fix="pass image=, uint8 [height, width, 3]"
        )
    colours = torch.tensor(image, device=cells.device).permute(2, 0, 1) / 255
    return _guided(cells, colours)


def check_method(method: str) -> None:
    """Refuse what is none of `METHODS`, by a UsageFault."""
    if method not in METHODS:
        raise UsageFault(f"no upsampling {method!r}", f"choose one of {', '.join(METHODS)}")


def to_mask(logits: Tensor, height: int, width: int, method: str = BILINEAR, image: Picture | None = None) -> Mask:
    """The mask at the picture's size, bool [height, width]: where `probabilities` (same arguments) are above 0.5.

    >>> to_mask(torch.tensor([[4.0, -4.0]]), 1, 4)
    array([[ True,  True, False, False]])
    """
    mask: Mask = (probabilities(logits, height, width, method, image) > 0.5).cpu().numpy()
    return mask


def _guided(cells: Tensor, colours: Tensor) -> Tensor:
    """A fast guided filter (He and Sun, arXiv:1505.00996) of cells [h, w] along colours [3, height, width], all 0 to 1."""
    (h, w), (height, width) = cells.shape, colours.shape[1:]
    squares = (colours[:, None] * colours).reshape(9, height, width)
    means = F.adaptive_avg_pool2d(torch.cat([colours, squares]), (h, w))
    means = _around(torch.cat([means, cells[None], means[:3] * cells]))
    colour, square, share, both = means[:3], means[3:12], means[12], means[13:]
    variance = square.reshape(3, 3, h, w) - colour[:, None] * colour
    slope = _solve(variance, both - colour * share)
    offset = share - (slope * colour).sum(0)
    fit = _between_centres(_around(torch.cat([slope, offset[None]])), height, width)
    filtered = ((fit[:3] * colours).sum(0) + fit[3]).clamp(0, 1)
    # What a cell's mean lacks is given back once, or small things whose colours are not theirs alone would vanish.
    lost = cells - F.adaptive_avg_pool2d(filtered[None], (h, w))[0]
    return (filtered + _between_centres(lost[None], height, width)[0]).clamp(0, 1)


def _solve(variance: Tensor, covariance: Tensor) -> Tensor:
    """Slopes [3, h, w] of the linear function with the given [3, 3, h, w] and [3, h, w], drawn a little to zero."""
    ridge = _FLAT * torch.eye(3, device=variance.device)
    slope: Tensor = torch.linalg.solve(variance.permute(2, 3, 0, 1) + ridge, covariance.permute(1, 2, 0))
    return slope.permute(2, 0, 1)


def _around(maps: Tensor) -> Tensor:
    """Mean of every cell and its neighbours, [channels, h, w]."""
    return F.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)


def _between_centres(maps: Tensor, height: int, width: int) -> Tensor:
    """[channels, h, w] interpolated between the cells' centres, [channels, height, width]."""
    return F.interpolate(maps[None], size=(height, width), mode="bilinear", align_corners=False)[0]
