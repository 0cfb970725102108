"""The multi-scale VQ-VAE of VAR (Tian et al., arXiv:2404.02905; FoundationVision/VAR), which ARGenSeg takes as its codec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from stamp_data.rle import decode
from stamp_schemas import RLE, StampError
from stamp_train.methods.argenseg.codec import Codec, digest_of
from stamp_train.methods.argenseg.quantiser import Quantiser, Scales
from stamp_train.methods.argenseg.vae import Decoder, Encoder, frozen

PUBLISHED: dict[str, Any] = {  # of vae_ch160v4096z32.pth
    "scales": (1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
    "vocabulary": 4096,
    "width": 32,
    "widths": (160, 160, 320, 320, 640),
    "blocks": 2,
    "maps": 4,
}
_SQUEEZED = 512  # pixels of the square that a mask is first resized to, as published
_TOGETHER = 8  # pictures that go through a network at a time


class VarCodec(Codec):
    """See the module's text. shape: as `PUBLISHED`. encodes: with the encoder too, which a model that draws does not need."""

    def __init__(self, shape: Mapping[str, Any], *, encodes: bool = False) -> None:
        super().__init__()
        self.vocabulary, width = int(shape["vocabulary"]), int(shape["width"])
        maps = [(torch.zeros(width, width, 3, 3), torch.zeros(width)) for _ in range(shape["maps"])]
        self.quantiser = Quantiser(Scales(shape["scales"]), torch.zeros(1, self.vocabulary, width), maps)
        self.side = self.scales.sides[-1] * 2 ** (len(shape["widths"]) - 1)
        self.decoder = frozen(Decoder(shape["widths"], shape["blocks"], width))
        self.post_quant_conv = frozen(nn.Conv2d(width, width, 3, padding=1))
        if encodes:
            self.encoder = frozen(Encoder(shape["widths"], shape["blocks"], width))
            self.quant_conv = frozen(nn.Conv2d(width, width, 3, padding=1))

    def encode(self, masks: Sequence[RLE]) -> Tensor:
        """See `Codec`; some two seconds of a processor core for a mask, in the published shape."""
        with torch.no_grad():
            pictures = torch.stack([self.picture(mask) for mask in masks])
            parts = torch.split(pictures, _TOGETHER)
            return torch.cat([self.quantiser.encode(self.features(part)).cpu() for part in parts])

    def picture(self, mask: RLE) -> Tensor:
        """A mask as the encoder sees it, [3, side, side], -1 and 1: squeezed to 512 pixels, then to what it was trained on."""
        image = Image.fromarray(decode(mask) * np.uint8(255))
        for side in (_SQUEEZED, self.side):
            image = image.resize((side, side), Image.Resampling.BICUBIC)
        return (torch.from_numpy(np.array(image)).float() / 127.5 - 1).expand(3, -1, -1)

    def features(self, pictures: Tensor) -> Tensor:
        """[B, D, s, s] of pictures [B, 3, side, side], not quantised."""
        found: Tensor = self.quant_conv(self.encoder(pictures.to(self.device)))
        return found

    def reconstruct(self, features: Tensor) -> Tensor:
        """Pictures [B, 3, side, side], -1 to 1, of quantised features."""
        parts = torch.split(features.to(self.quantiser.books.dtype), _TOGETHER)
        return torch.cat([self.decoder(self.post_quant_conv(part)).clamp(-1, 1).float() for part in parts])

    def draw(self, features: Tensor) -> Tensor:
        """[B, side, side]: the mean of the channels."""
        return (self.reconstruct(features).mean(1) + 1) / 2

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take published weights, by their names; those of the encoder only where there is one. Shapes are those of `shape`."""
        for name, buffer in self.named_buffers():
            found = weights[published_name(name)].to(buffer)
            buffer.copy_(found[None] if name == "quantiser.books" else found)


def published_name(name: str) -> str:
    """The published name of a number of ours."""
    if name == "quantiser.books":
        return "quantize.embedding.weight"
    kind, _, number = name.removeprefix("quantiser.").partition("_")
    if name.startswith("quantiser."):
        return f"quantize.quant_resi.qresi_ls.{number}.{'weight' if kind == 'map' else 'bias'}"
    return name


def shape_of(weights: Mapping[str, Tensor], scales: Sequence[int] = ()) -> dict[str, Any]:
    """The shape that weights are of, by their published names; StampError if they are of no such codec.

    scales: where they are not the published ten.
    """
    scales = tuple(scales) or PUBLISHED["scales"]
    try:
        levels = sum(name.endswith(".block.0.conv1.weight") for name in weights if name.startswith("encoder.down."))
        blocks = [
            name for name in weights if name.startswith("encoder.down.0.block.") and name.endswith("conv1.weight")
        ]
        vocabulary, width = weights["quantize.embedding.weight"].shape
        shape = {
            "scales": scales,
            "vocabulary": vocabulary,
            "width": width,
            "widths": tuple(len(weights[f"encoder.down.{level}.block.0.conv1.weight"]) for level in range(levels)),
            "blocks": len(blocks),
            "maps": sum("quant_resi.qresi_ls" in name and name.endswith("weight") for name in weights),
        }
        with torch.device("meta"):
            expected = {published_name(name): buffer for name, buffer in VarCodec(shape, encodes=True).named_buffers()}
    except (KeyError, ValueError, TypeError, RuntimeError, IndexError) as fault:
        raise StampError(f"no weights of VAR's VQ-VAE: {fault}") from None
    expected["quantize.embedding.weight"] = expected["quantize.embedding.weight"][0]
    expected["quantize.ema_vocab_hit_SV"] = torch.empty(len(scales), vocabulary, device="meta")
    if odd := expected.keys() ^ weights.keys():
        raise StampError(f"no weights of VAR's VQ-VAE: {len(odd)} names are lacking or too many, such as {min(odd)}")
    for name, weight in weights.items():
        if weight.shape != expected[name].shape or not weight.is_floating_point():
            found = f"{name} is {weight.dtype} {tuple(weight.shape)}, not {tuple(expected[name].shape)}"
            raise StampError(f"no weights of VAR's VQ-VAE: {found}")
        if not bool(weight.isfinite().all()):
            raise StampError(f"{name} holds numbers that are not finite")
    return {**shape, "digest": digest_of(weights, scales)}
