"""A codec without a network: coverage of 64x64 cells, quantised scale by scale with codebooks fitted to masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stamp_data.grid import rle_coverage
from stamp_schemas import RLE, Grid, Record, StampError
from stamp_schemas.record import FULL
from stamp_train.methods.argenseg.codec import Codec, digest_of
from stamp_train.methods.argenseg.quantiser import Quantiser, Scales

CELL = 4  # cells of coverage along each side of what one vector stands for
_MASKS = 4000  # masks that codebooks are fitted to: more do not make them better
_EVERY = 40_000  # records that are looked at for them
_ROUNDS = 12  # of k-means
_MOST = 30_000  # vectors that a codebook is fitted to
_NOTHING = 1e-4  # squared length of a vector that the zero vector stands for


class ResidualCodec(Codec):
    """See the module's text. shape: `scales`, `vocabulary`; without `weights`, their books are zeros, to be loaded."""

    def __init__(self, shape: Mapping[str, Any], books: Tensor | None = None) -> None:
        super().__init__()
        scales, self.vocabulary = Scales(shape["scales"]), int(shape["vocabulary"])
        size = (len(scales), self.vocabulary, CELL * CELL)
        self.quantiser = Quantiser(scales, torch.zeros(size) if books is None else books)

    def encode(self, masks: Sequence[RLE]) -> Tensor:
        """See `Codec`: some two milliseconds a mask, so that nothing need be kept beside a set."""
        return self.quantiser.encode(features(masks, self.scales.sides[-1]).to(self.device)).cpu()

    def draw(self, features: Tensor) -> Tensor:
        """[B, 4 s, 4 s]."""
        return F.pixel_shuffle(features, CELL)[:, 0]

    def begin(self, records: Iterable[Record]) -> None:
        """Fit the codebooks to the masks of some records; StampError if there are none.

        Of many masks every n-th is taken, of the first 40,000 records: the same ones whenever this is called.
        """
        masks = sample(records, _MASKS)
        if not masks:
            raise StampError(
                "there are no masks to fit a codec to", "train on sets with masks, or give method.file a codec"
            )
        books = fit(features(masks, self.scales.sides[-1]), self.scales, self.vocabulary)
        self.quantiser.books.copy_(books)

    @property
    def digest(self) -> str:
        """See `digest_of`."""
        return digest_of({"books": self.quantiser.books}, self.scales.sides)


def features(masks: Sequence[RLE], side: int) -> Tensor:
    """float32 [masks, 16, side, side]: of each of side x side cells the shares of 4x4 parts that a mask covers."""
    grid = Grid(CELL * side, CELL * side)
    shares = torch.stack([torch.from_numpy(rle_coverage(mask, grid)) for mask in masks]).float() / FULL
    return F.pixel_unshuffle(shares[:, None], CELL)


def sample(records: Iterable[Record], most: int) -> list[RLE]:
    """Masks of records, every n-th where there are more than `most`."""
    found = [target.rle for record in islice(records, _EVERY) for target in record.targets]
    step = -(-len(found) // most) or 1
    return found[::step]


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
