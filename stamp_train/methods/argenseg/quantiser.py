"""Residual quantisation over scales: a picture of features as codes, coarse ones first, each scale for what is still missing.

This is the quantiser of VAR (Tian et al., arXiv:2404.02905). Of what is missing the area mean of every cell of a scale is
replaced by the nearest vector of a codebook; spread over the picture again, and smoothed by a map `phi`, it is taken off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CHUNK = 1 << 24  # distances at a time


class Scales:
    """Squares of `sides` cells, coarse to fine, one after another: N cells in all. The last is as large as the picture."""

    def __init__(self, sides: Sequence[int]) -> None:
        self.sides = tuple(sides)
        self.sizes = [side * side for side in sides]
        self.ends = list(accumulate(self.sizes))
        self.cells = self.ends[-1]

    def __len__(self) -> int:
        return len(self.sides)

    def part(self, scale: int) -> slice:
        """Where the cells of a scale are among all."""
        return slice(self.ends[scale] - self.sizes[scale], self.ends[scale])


class Quantiser(nn.Module):
    """Codebooks and maps; D channels, V vectors to a codebook. Its numbers are buffers: nothing here is ever trained.

    books: [1, V, D], one for all scales, or [scales, V, D]. maps: weights [D, D, 3, 3] and biases [D] of the convolutions that
    phi mixes in by half; none: phi changes nothing. cosine: nearest by angle instead of by distance.
    """

    books: Tensor

    def __init__(
        self, scales: Scales, books: Tensor, maps: Sequence[tuple[Tensor, Tensor]] = (), *, cosine: bool = False
    ) -> None:
        super().__init__()
        self.scales, self.cosine = scales, cosine
        self.register_buffer("books", books)
        self.maps = len(maps)
        for number, (weight, bias) in enumerate(maps):
            self.register_buffer(f"map_{number}", weight)
            self.register_buffer(f"offset_{number}", bias)

    def book(self, scale: int) -> Tensor:
        """The codebook of a scale, float32 [V, D], whatever precision a checkpoint keeps it in."""
        return self.books[scale if len(self.books) > 1 else 0].float()

    def encode(self, picture: Tensor) -> Tensor:
        """Codes int64 [B, N] of pictures [B, D, s, s]."""
        missing, codes = picture, []
        for scale in range(len(self.scales)):
            found = self.nearest(scale, missing)
            codes.append(found)
            missing = missing - self.spread(scale, found)
        return torch.cat(codes, 1)

    def spread(self, scale: int, codes: Tensor) -> Tensor:
        """What codes [B, cells of the scale] add to the picture, [B, D, s, s]."""
        side, last = self.scales.sides[scale], self.scales.sides[-1]
        found = self.book(scale)[codes].transpose(1, 2).reshape(len(codes), self.books.shape[-1], side, side)
        if side != last:
            found = F.interpolate(found, size=(last, last), mode="bicubic")
        if not self.maps:
            return found
        number = map_of(scale, len(self.scales), self.maps)
        weight, bias = (getattr(self, f"{kind}_{number}").float() for kind in ("map", "offset"))
        mixed: Tensor = found * 0.5 + F.conv2d(found, weight, bias, padding=1) * 0.5
        return mixed

    def pictures(self, codes: Tensor) -> Iterator[Tensor]:
        """The picture [B, D, s, s] of codes [B, N], as it stands after each scale."""
        picture: Tensor | None = None
        for scale in range(len(self.scales)):
            added = self.spread(scale, codes[:, self.scales.part(scale)])
            picture = added if picture is None else picture + added
            yield picture

    def inputs(self, codes: Tensor) -> Tensor:
        """What is known before each cell but the first is: [B, N - 1, D], the picture so far, as large as the cell's scale."""
        found = [
            F.interpolate(picture, size=(side, side), mode="area").flatten(2).transpose(1, 2)
            for picture, side in zip(self.pictures(codes), self.scales.sides[1:], strict=False)
        ]
        return torch.cat(found, 1)

    def nearest(self, scale: int, missing: Tensor) -> Tensor:
        """Codes [B, cells of the scale] of the vectors that are nearest to what is missing, [B, D, s, s]."""
        side = self.scales.sides[scale]
        cells = missing if side == missing.shape[-1] else F.interpolate(missing, size=(side, side), mode="area")
        flat, book = cells.flatten(2).transpose(1, 2).flatten(0, 1).float(), self.book(scale)
        vectors = F.normalize(book, dim=-1) if self.cosine else book
        found = []
        for part in torch.split(flat, max(_CHUNK // len(vectors), 1)):
            if self.cosine:
                found.append((F.normalize(part, dim=-1) @ vectors.T).argmax(1))
            else:
                distance = part.square().sum(1, keepdim=True) + vectors.square().sum(1) - 2 * part @ vectors.T
                found.append(distance.argmin(1))
        return torch.cat(found).view(len(missing), side * side)


def map_of(scale: int, scales: int, maps: int) -> int:
    """The map that a scale uses: of those that lie evenly over the scales, the nearest; rounding settles ties as published."""
    margin = 1 / 3 / maps if maps == 4 else 1 / 2 / maps
    places = np.linspace(margin, 1 - margin, maps)
    return int(np.argmin(np.abs(places - scale / (scales - 1))))
