"""What SAM is asked with: a mask prompt, points and a box, all in the frame of its input.

The mask prompt is built in floats from the model's probabilities, so that soft outlines stay soft and the padding of
pictures that are not square is background.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stamp_train.methods.upsample import PUBLISHED, to_mask
from stamp_train.predict.refine.frame import Frame, read_at
from stamp_train.predict.refine.published import published_points, published_prior

EPSILON = 1e-3  # probabilities are kept this far from 0 and 1: mask prompts lie within +-6.9, as the published ones
CANDIDATES = 4096  # pixels per side of the outline among which points are chosen

Mask = NDArray[np.bool_]
Points = tuple[NDArray[np.float64], NDArray[np.int64]]


@dataclass(frozen=True)
class Preset:
    """How a mask is refined.

    prompts: `soft` makes the mask prompt of the model's probabilities and draws points by confidence; `published` makes both
    of the hard mask exactly as STAMP's code does, its padding fault included. positive, negative: points inside and outside
    the mask, at most. box: also prompt with the mask's box. rounds: passes of the mask decoder, each after the first prompted
    with the logits of the one before. multimask: the first round proposes three masks, and that with the highest predicted
    IoU times its IoU with the mask to be refined is taken; otherwise one. keep_empty: an empty answer stands; otherwise the
    unrefined mask is kept.
    """

    prompts: Literal["soft", "published"]
    positive: int
    negative: int
    box: bool
    rounds: int
    multimask: bool
    keep_empty: bool


PRESETS = {
    "stamp": Preset("soft", positive=10, negative=10, box=True, rounds=2, multimask=True, keep_empty=False),
    "published": Preset("published", positive=10, negative=10, box=False, rounds=3, multimask=False, keep_empty=True),
}
"""`stamp` is the default; `published` does what STAMP's released evaluation does (`eval/eval_refer_seg.py`)."""


@dataclass(frozen=True)
class Prompt:
    """The prompt for one mask. prior: logits, float32 [prior_side, prior_side]. points: (x, y) in the network's input, float64
    [n, 2]; labels: int64 [n], 1 inside, 0 outside. box: upper left and lower right pixel likewise, float64 [4], or None."""

    prior: Tensor
    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    box: NDArray[np.float64] | None


def make_prompt(preset: Preset, frame: Frame, logits: Tensor, mask: Mask, seed: int) -> Prompt | None:
    """The prompt for one mask, bool [height, width] of the picture, whose logits, float [h, w], have any grid; None if there is
    nothing to refine. seed: of the points."""
    published = preset.prompts == "published"
    if published:  # its code knows no other upsampling; `mask` may come from a better one
        mask = to_mask(logits, frame.height, frame.width, PUBLISHED)
    if not mask.any():
        return None
    if published:
        prior = torch.from_numpy(published_prior(mask, frame.prior_side))
        points, labels = published_points(mask, preset.positive, preset.negative, seed)
    else:
        prior = soft_prior(frame, logits)
        points, labels = confident_points(logits, mask, preset.positive, preset.negative, seed)
    box = frame.scaled(box_of(mask).reshape(2, 2)).reshape(4) if preset.box else None
    return Prompt(prior, frame.scaled(points), labels, box)


def soft_prior(frame: Frame, logits: Tensor) -> Tensor:
    """The mask prompt, float32 [prior_side, prior_side]: logits of interpolated probabilities, padding as background."""
    return torch.logit(frame.place(logits.float().sigmoid(), fill=0.0).clamp(EPSILON, 1 - EPSILON))


def confident_points(logits: Tensor, mask: Mask, positive: int, negative: int, seed: int) -> Points:
    """Pixels inside and outside a mask, at most so many of each, drawn without replacement with weights that grow with the
    model's confidence: (x, y), float64 [n, 2], and int64 [n], 1 inside, 0 outside.

    The weight is |2p - 1| of the interpolated probability p, so that few points fall on doubtful outlines. Weighted sampling
    by the largest keys log(w) + Gumbel noise (Efraimidis and Spirakis, 2006).
    """
    rng = np.random.default_rng(seed)
    chosen = [_draw(logits, side, count, rng) for side, count in ((mask, positive), (~mask, negative))]
    return np.concatenate(chosen), np.repeat([1, 0], [len(points) for points in chosen])


def _draw(logits: Tensor, side: Mask, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    pixels = np.flatnonzero(side)
    if len(pixels) > CANDIDATES:
        pixels = rng.choice(pixels, CANDIDATES, replace=False)
    y, x = np.unravel_index(pixels, side.shape)
    where = np.stack([(x + 0.5) / side.shape[1], (y + 0.5) / side.shape[0]], axis=-1)
    probability = read_at(logits.sigmoid(), torch.from_numpy(where)).numpy()
    keys = np.log(np.abs(2 * probability - 1) + 1e-9) + rng.gumbel(size=len(pixels))
    best = np.argsort(-keys, kind="stable")[:count]
    return np.stack([x[best], y[best]], axis=-1).astype(np.float64)


def box_of(mask: Mask) -> NDArray[np.float64]:
    """First and last column and row of a mask that is not empty: (x0, y0, x1, y1), both ends included."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float64)
