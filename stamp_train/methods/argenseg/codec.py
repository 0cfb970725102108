"""What a codec is: masks to codes, codes to what the language model is given, codes to pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from blake3 import blake3
from torch import Tensor, nn

from stamp_schemas import RLE
from stamp_train.methods.argenseg.quantiser import Quantiser, Scales


class Codec(nn.Module, ABC):
    """N codes to a mask, scale by scale, each below `vocabulary`; D numbers to what is known before a code.

    Its numbers are buffers of the network that it is part of: kept in every checkpoint, trained by nobody.
    """

    quantiser: Quantiser
    vocabulary: int

    @property
    def scales(self) -> Scales:
        """How the codes of a mask are laid out."""
        return self.quantiser.scales

    @torch.no_grad()
    @abstractmethod
    def encode(self, masks: Sequence[RLE]) -> Tensor:
        """Codes int64 [masks, N] on the CPU."""

    @torch.no_grad()
    def embed(self, codes: Tensor) -> Tensor:
        """float32 [B, N - 1, D] of codes [B, N]: what is known of the mask before each code but the first."""
        with torch.autocast(codes.device.type, enabled=False):
            return self.quantiser.inputs(codes)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Probabilities float32 [B, height, width] of codes [B, N]: of the whole picture, squeezed to a square."""
        with torch.autocast(codes.device.type, enabled=False):
            *_, features = self.quantiser.pictures(codes)
            return self.draw(features).clamp(0, 1)

    @abstractmethod
    def draw(self, features: Tensor) -> Tensor:
        """The picture [B, height, width] of quantised features [B, D, s, s]; foreground near 1, background near 0."""

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.quantiser.books.device


def digest_of(weights: Mapping[str, Tensor], *more: Any) -> str:
    """The name of a codec: BLAKE3 of its numbers as float32, whatever file they come from, and of what else it is made by."""
    found = blake3(repr(more).encode())
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().float().contiguous()
        found.update(f"{name}{tuple(tensor.shape)}".encode())
        found.update(tensor.numpy().tobytes())
    return found.hexdigest()
