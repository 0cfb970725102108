"""Codebooks by k-means: a residual quantiser fitted to masks, scale by scale, each to what those before it have left."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stamp_train.methods.argenseg.quantiser import Quantiser, Scales

_ROUNDS = 12
_MOST = 30_000  # vectors that a codebook is fitted to
_NOTHING = 1e-4  # squared length of a vector that the zero vector stands for


def fit(pictures: Tensor, scales: Scales, vocabulary: int) -> Tensor:
    """Codebooks [scales, V, D] for pictures [B, D, s, s], the zero vector first in each.

    Numbers are those of bfloat16, so that no checkpoint in that precision changes them. Which vectors a book begins with is
    drawn by a generator of its own: the same pictures give the same books.
    """
    width = pictures.shape[1]
    books = torch.zeros(len(scales), vocabulary, width)
    missing = pictures
    for scale, side in enumerate(scales.sides):
        cells = F.interpolate(missing, size=(side, side), mode="area").flatten(2).transpose(1, 2).reshape(-1, width)
        books[scale, 1:] = k_means(cells, vocabulary - 1, seed=scale).bfloat16().float()
        quantiser = Quantiser(scales, books)
        missing = missing - quantiser.spread(scale, quantiser.nearest(scale, missing))
    return books


def k_means(vectors: Tensor, count: int, seed: int) -> Tensor:
    """Means [count, D] of those vectors [n, D] that are not nearly zero (Lloyd); fewer vectors than means leave zeros."""
    random = torch.Generator().manual_seed(seed)
    kept = vectors[vectors.square().sum(1) > _NOTHING]
    kept = kept[torch.randperm(len(kept), generator=random)[:_MOST]]
    means = torch.zeros(count, vectors.shape[1])
    begin = torch.unique(kept, dim=0)
    begin = begin[torch.randperm(len(begin), generator=random)[:count]]
    means[: len(begin)] = begin
    for _ in range(_ROUNDS if len(begin) else 0):
        nearest = torch.cat([torch.cdist(part, means[: len(begin)]).argmin(1) for part in torch.split(kept, 4096)])
        sums = torch.zeros_like(begin).index_add(0, nearest, kept)
        counts = torch.bincount(nearest, minlength=len(begin))[:, None]
        means[: len(begin)] = torch.where(counts > 0, sums / counts.clamp(min=1), means[: len(begin)])
    return means
