"""SAM's mask decoder prompted by the embedding instead of points or boxes; SAM's picture encoder stays as it is (LISA)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stamp_train.sequence.environment import hide_broken_torchvision

hide_broken_torchvision()
from transformers import SamModel  # noqa: E402 - only once torchvision cannot break it

Size = tuple[int, int]
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as SAM was trained


class SamHead(nn.Module):
    """Logits of a mask on a square of cells (256 in the released models), of which the picture fills the upper left.

    config: a `transformers.SamConfig`. Only the decoder and the layers before it are trained.
    """

    def __init__(self, hidden_size: int, config: Any) -> None:
        super().__init__()
        width = config.mask_decoder_config.hidden_size
        self.state = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, width))
        self.sam = SamModel(config)
        self.side: int = config.vision_config.image_size  # pixels of the square input

    def frame(self, size: Size) -> Size:
        """Height and width in the square of a picture of that size: its longer side fills it."""
        scale = self.side / max(size)
        return max(int(size[0] * scale + 0.5), 1), max(int(size[1] * scale + 0.5), 1)

    @torch.no_grad()
    def embed(self, picture: Tensor) -> Tensor:
        """SAM's embedding [1, C, s, s] of a picture, float [3, height, width], 0 to 1; once for all of its masks."""
        height, width = self.frame((picture.shape[1], picture.shape[2]))
        resized = F.interpolate(picture[None], size=(height, width), mode="bilinear", antialias=True)
        mean, std = (torch.tensor(values).to(picture).reshape(1, 3, 1, 1) for values in (_MEAN, _STD))
        padded = F.pad((resized - mean) / std, (0, self.side - width, 0, self.side - height))
        embedding: Tensor = self.sam.get_image_embeddings(padded.to(self.sam.dtype))
        return embedding

    def forward(self, states: Tensor, embedding: Tensor) -> Tensor:
        """Logits [masks, 4s, 4s] of masks of one picture, from the states [masks, H] that stand for them."""
        prompts = self.state(states)
        without = self.sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)  # for there is no mask to begin with
        masks, _ = self.sam.mask_decoder(
            image_embeddings=embedding,
            image_positional_embeddings=self.sam.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=prompts[None, :, None],
            dense_prompt_embeddings=without.expand_as(embedding),
            multimask_output=False,
        )
        logits: Tensor = masks[0, :, 0]
        return logits

    def restore(self, logits: Tensor, picture: Size, size: Size) -> Tensor:
        """The square's logits [masks, 4s, 4s] at another size of its picture, [masks, *size], padding cut off."""
        height, width = self.frame(picture)
        whole = F.interpolate(logits[None].float(), size=(self.side, self.side), mode="bilinear")
        return F.interpolate(whole[..., :height, :width], size=size, mode="bilinear")[0]
