"""What SAM is asked with: a mask prompt, points and a box, all in the frame of its input.

The mask prompt is built in floats from the model's probabilities, so that soft outlines stay soft and the padding of
pictures that are not square is background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from stamp_train.methods.upsample import PUBLISHED, to_mask
from stamp_train.predict.refine.frame import Frame
from stamp_train.predict.refine.presets import Preset
from stamp_train.predict.refine.published import published_points, published_prior

EPSILON = 1e-3  # probabilities are kept this far from 0 and 1: mask prompts lie within +-6.9, as the published ones
CANDIDATES = 4096  # pixels per side of the outline among which points are chosen

Mask = NDArray[np.bool_]
Points = tuple[NDArray[np.float64], NDArray[np.int64]]


@dataclass(frozen=True)
class Prompt:
    """The prompt for one mask.

    Attributes:
        prior: float32 [prior_side, prior_side], logits.
        points: float64 [n, 2], (x, y) in the network's input.
        labels: int64 [n], 1 inside, 0 outside.
        box: float64 [4], (x, y) of the upper left and lower right pixel in the network's input, or None.
    """

    prior: Tensor
    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    box: NDArray[np.float64] | None


def make_prompt(preset: Preset, frame: Frame, logits: Tensor, mask: Mask, seed: int) -> Prompt | None:
    """The prompt for one mask, or None if there is nothing to refine.

    Args:
        preset: what to ask with.
        frame: of the picture.
        logits: float [h, w], a logit picture of any grid.
        mask: bool [height, width] of the picture, the mask to be refined.
        seed: of the points.
    """
    if preset.prompts == "published":
        # The published code knows no other upsampling; `mask` may come from a better one.
        mask = to_mask(logits, frame.height, frame.width, PUBLISHED)
        prior = torch.from_numpy(published_prior(mask, frame.prior_side))
    else:
        prior = soft_prior(frame, logits)
    if not mask.any():
        return None
    if preset.prompts == "published":
        points, labels = published_points(mask, preset.positive, preset.negative, seed)
    else:
        points, labels = confident_points(logits, mask, preset.positive, preset.negative, seed)
    box = frame.scaled(box_of(mask).reshape(2, 2)).reshape(4) if preset.box else None
    return Prompt(prior, frame.scaled(points), labels, box)


def soft_prior(frame: Frame, logits: Tensor) -> Tensor:
    """The mask prompt, float32 [prior_side, prior_side]: logits of interpolated probabilities, padding as background.

    Args:
        frame: of the picture.
        logits: float [h, w], a logit picture of any grid.
    """
    shares = frame.place(logits.float().sigmoid(), fill=0.0)
    return torch.logit(shares.clamp(EPSILON, 1 - EPSILON))


def confident_points(logits: Tensor, mask: Mask, positive: int, negative: int, seed: int) -> Points:
    """Pixels inside and outside a mask, drawn without replacement with weights that grow with the model's confidence.

    The weight is |2p - 1| of the interpolated probability p, so that few points fall on doubtful outlines. Weighted sampling
    by the largest keys log(w) + Gumbel noise (Efraimidis and Spirakis, 2006).

    Args:
        logits: float [h, w], a logit picture that covers the whole mask.
        mask: bool [height, width].
        positive, negative: how many of each at most.
        seed: same seed, same points.

    Returns:
        (x, y) of the pixels, float64 [n, 2], and int64 [n]: 1 inside, 0 outside.
    """
    rng = np.random.default_rng(seed)
    chosen = [_draw(logits, side, count, rng) for side, count in ((mask, positive), (~mask, negative))]
    return np.concatenate(chosen), np.repeat([1, 0], [len(points) for points in chosen])


def _draw(logits: Tensor, side: Mask, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    pixels = np.flatnonzero(side)
    if len(pixels) > CANDIDATES:
        pixels = rng.choice(pixels, CANDIDATES, replace=False)
    y, x = np.unravel_index(pixels, side.shape)
    share = _read(logits.sigmoid(), (x + 0.5) / side.shape[1], (y + 0.5) / side.shape[0])
    keys = np.log(np.abs(2 * share - 1) + 1e-9) + rng.gumbel(size=len(pixels))
    best = np.argsort(-keys, kind="stable")[:count]
    return np.stack([x[best], y[best]], axis=-1).astype(np.float64)


def _read(picture: Tensor, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bilinear values of a picture [h, w] at positions given as shares of its sides."""
    where = torch.from_numpy(np.stack([2 * x - 1, 2 * y - 1], axis=-1))[None, None]
    read = F.grid_sample(
        picture.double()[None, None], where, mode="bilinear", padding_mode="border", align_corners=False
    )
    values: NDArray[np.float64] = read[0, 0, 0].numpy()
    return values


def box_of(mask: Mask) -> NDArray[np.float64]:
    """First and last column and row of a mask that is not empty: (x0, y0, x1, y1), both ends included."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float64)
