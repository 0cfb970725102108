"""The convolutional encoder and decoder of VAR's VQ-VAE (arXiv:2404.02905), with the names of its published weights.

Five levels, halved in size from one to the next; residual blocks at each, attention at the deepest and between.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions, each behind a norm, added to what came in."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = _norm(before), nn.Conv2d(before, after, 3, padding=1)
        self.norm2, self.conv2 = _norm(after), nn.Conv2d(after, after, 3, padding=1)
        self.nin_shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        shortcut: Tensor = self.nin_shortcut(x)
        return shortcut + found


class Attention(nn.Module):
    """One head over all places of a picture, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.qkv, self.proj_out = nn.Conv2d(width, 3 * width, 1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, -1)
        found = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(x.shape)
        projected: Tensor = self.proj_out(found)
        return x + projected


class _Resize(nn.Module):
    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(width, width, 3, stride, padding=2 - stride)

    def forward(self, x: Tensor) -> Tensor:
        """Half the size, padded at the lower right alone, or twice the size."""
        x = F.pad(x, (0, 1, 0, 1)) if self.stride == 2 else F.interpolate(x, scale_factor=2.0, mode="nearest")
        found: Tensor = self.conv(x)
        return found


class _Middle(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block_1, self.attn_1, self.block_2 = Block(width, width), Attention(width), Block(width, width)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return found


class _Level(nn.Module):
    """Blocks of one size; with `resize`, the way to the next."""

    def __init__(self, widths: Sequence[int], *, attends: bool, resize: str, stride: int) -> None:
        super().__init__()
        blocks = [Block(before, after) for before, after in pairwise(widths)]
        self.block = nn.ModuleList(blocks)
        self.attn = nn.ModuleList([Attention(widths[-1]) for _ in blocks] if attends else [])
        self.resize = resize
        if resize:
            self.add_module(resize, _Resize(widths[-1], stride))

    def forward(self, x: Tensor) -> Tensor:
        for number, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[number](x)
        return self.get_submodule(self.resize)(x) if self.resize else x


class Encoder(nn.Module):
    """Pictures [B, 3, 16 s, 16 s] to [B, D, s, s] with five levels; widths: of each level. blocks: residual ones to a level."""

    def __init__(self, widths: Sequence[int], blocks: int, channels: int) -> None:
        super().__init__()
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        ways = zip([widths[0], *widths], widths, strict=False)
        self.down = nn.ModuleList(
            _Level(
                [before] + [after] * blocks,
                attends=level == last,
                resize="downsample" if level < last else "",
                stride=2,
            )
            for level, (before, after) in enumerate(ways)
        )
        self.mid = _Middle(widths[-1])
        self.norm_out, self.conv_out = _norm(widths[-1]), nn.Conv2d(widths[-1], channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        found: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(x))))
        return found


class Decoder(nn.Module):
    """The way back, [B, D, s, s] to pictures [B, 3, 16 s, 16 s]; a block more to a level."""

    def __init__(self, widths: Sequence[int], blocks: int, channels: int) -> None:
        super().__init__()
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(channels, widths[-1], 3, padding=1)
        self.mid = _Middle(widths[-1])
        ways = zip([*widths[1:], widths[-1]], widths, strict=True)
        self.up = nn.ModuleList(
            _Level(
                [before] + [after] * (blocks + 1),
                attends=level == last,
                resize="upsample" if level else "",
                stride=1,
            )
            for level, (before, after) in enumerate(ways)
        )
        self.norm_out, self.conv_out = _norm(widths[0]), nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in reversed(list(self.up)):
            x = level(x)
        found: Tensor = self.conv_out(F.silu(self.norm_out(x)))
        return found


def frozen(module: nn.Module) -> nn.Module:
    """The same module with buffers in the place of parameters: saved and moved like weights, and nobody trains them."""
    for part in module.modules():
        for name, weight in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, weight.detach())
    return module


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, width, eps=1e-6)
