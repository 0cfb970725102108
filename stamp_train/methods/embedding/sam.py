"""SAM's mask decoder prompted by the embedding instead of points or boxes; SAM's picture encoder stays as it is (LISA)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stamp_train.methods.readout import Readout
from stamp_train.sequence.document import Grid
from stamp_train.sequence.environment import hide_broken_torchvision
from stamp_train.sequence.errors import reading
from stamp_train.sequence.inputs import Reading

hide_broken_torchvision()
from transformers import SamConfig, SamModel  # noqa: E402 - only once torchvision cannot break it

Size = tuple[int, int]
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as SAM was trained


def drawn(shape: dict[str, Any]) -> int:
    """Cells per side of the square that the decoder draws."""
    config: Any = SamConfig(**shape)
    return 4 * int(config.prompt_encoder_config.image_embedding_size)


def cells(grid: Grid, side: int) -> Size:
    """Rows and columns of the masks of an image: as many on its longer side as SAM's decoder draws, 256 in released models."""
    scale = side / max(grid)
    return max(round(grid[0] * scale), 1), max(round(grid[1] * scale), 1)


class SamHead(Readout):
    """A mask is SAM's answer to one prompt, the embedding; the decoder is trained, the encoder is not.

    shape: of a `transformers.SamConfig`.
    """

    sees = True

    def __init__(self, hidden_size: int, shape: dict[str, Any]) -> None:
        super().__init__()
        config: Any = SamConfig(**shape)
        width = config.mask_decoder_config.hidden_size
        self.state = nn.Sequential(nn.Linear(hidden_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, width))
        sam = SamModel(config)
        self.encoder, self.decoder = sam.vision_encoder, sam.mask_decoder
        self.places, self.no_mask = sam.shared_image_embedding, sam.prompt_encoder.no_mask_embed
        self.freeze()
        self.side: int = config.vision_config.image_size  # pixels of the square that the encoder reads
        self.drawn = drawn(shape)

    def forward(self, given: Reading) -> dict[str, Tensor]:
        """`masks`: logits of all masks' cells, one mask after another, row by row."""
        prompts = self.state(given.states)
        if not given.masks:  # one of nothing, and none of it is kept, so that all weights take part
            prompt = self.state(given.states.new_zeros(1, given.states.shape[1]))
            blank = prompt.new_zeros(1, prompt.shape[1], self.drawn // 4, self.drawn // 4)
            return {"masks": self.decode(prompt, blank).flatten()[:0]}
        logits, begin = [], 0
        for document, places in groupby(place.seg.document for place in given.masks):
            end = begin + len(list(places))
            square = self.decode(prompts[begin:end], given.features.own[document.image])
            logits.append(self.restore(square, document.grid, cells(document.grid, self.drawn)).flatten())
            begin = end
        return {"masks": torch.cat(logits)}

    @torch.no_grad()
    def see(self, pictures: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """SAM's embedding [1, C, s, s] of each picture, float [3, height, width], 0 to 1; once for all of its masks."""
        return tuple(self.encoder(self.place(picture))[0] for picture in pictures)

    def decode(self, prompts: Tensor, embedding: Tensor) -> Tensor:
        """Logits [masks, 4s, 4s] of masks of one picture, from prompts [masks, C] and its embedding."""
        dtype, side = prompts.dtype, embedding.shape[-1]  # frozen layers may be of another precision than trained ones
        centres = (torch.arange(side, device=prompts.device) + 0.5) / side
        places = self.places(torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1))
        without = self.no_mask.weight.reshape(1, -1, 1, 1)  # there is no mask to begin with
        masks, _ = self.decoder(
            image_embeddings=embedding.to(dtype),
            image_positional_embeddings=places.permute(2, 0, 1)[None].to(dtype),
            sparse_prompt_embeddings=prompts[None, :, None],
            dense_prompt_embeddings=without.expand_as(embedding).to(dtype),
            multimask_output=False,
        )
        logits: Tensor = masks[0, :, 0]
        return logits

    def frame(self, size: Size) -> Size:
        """Height and width in the square of a picture of that size: its longer side fills it."""
        scale = self.side / max(size)
        return max(int(size[0] * scale + 0.5), 1), max(int(size[1] * scale + 0.5), 1)

    def place(self, picture: Tensor) -> Tensor:
        """A picture in the square, [1, 3, side, side], normalised."""
        height, width = self.frame((picture.shape[1], picture.shape[2]))
        resized = F.interpolate(picture[None].float(), size=(height, width), mode="bilinear", antialias=True)
        mean, std = (torch.tensor(values).to(resized).reshape(1, 3, 1, 1) for values in (_MEAN, _STD))
        padded = F.pad((resized - mean) / std, (0, self.side - width, 0, self.side - height))
        return padded.to(self.encoder.dtype)

    def restore(self, square: Tensor, picture: Size, size: Size) -> Tensor:
        """The square's logits [masks, 4s, 4s] at another size of its picture, [masks, *size], padding cut off.

        picture: its height and width in any unit.
        """
        height, width = self.frame(picture)
        whole = F.interpolate(square[None].float(), size=(self.side, self.side), mode="bilinear")
        return F.interpolate(whole[..., :height, :width], size=size, mode="bilinear")[0]

    def freeze(self) -> None:
        """All but the decoder keep their weights, and what says how good a mask is, which nobody asks."""
        for part in (self.encoder, self.no_mask, self.decoder.iou_prediction_head):
            part.requires_grad_(False)

    def load(self, folder: str) -> None:
        """Take the weights of a SAM in transformers' layout; StampModelError if it is none, or one of another shape."""
        opener: Any = SamModel.from_pretrained
        with reading(folder):
            sam, report = opener(folder, local_files_only=True, output_loading_info=True)
            if report["missing_keys"]:
                raise ValueError(f"the file lacks {', '.join(sorted(report['missing_keys'])[:3])}")
            self.encoder.load_state_dict(sam.vision_encoder.state_dict())
            self.decoder.load_state_dict(sam.mask_decoder.state_dict())
            self.places.load_state_dict(sam.shared_image_embedding.state_dict())
            self.no_mask.load_state_dict(sam.prompt_encoder.no_mask_embed.state_dict())
