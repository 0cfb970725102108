"""Masks refined with SAM: coarse masks become prompts, and the picture is embedded once for all of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from blake3 import blake3
from numpy.typing import NDArray
from torch import Tensor

from stamp_train.predict.refine.faults import RefinerFault
from stamp_train.predict.refine.frame import Frame
from stamp_train.predict.refine.prompts import Mask, Preset, Prompt, make_prompt

if TYPE_CHECKING:
    from stamp_train.predict.refine.network import Sam

EMBEDDINGS = 4  # pictures whose embedding is kept, for callers that bring the masks of a batch one by one
PROMPTS = 16  # masks per pass of the mask decoder


class SamRefiner:
    """Refines, and raises whatever goes wrong. seed: of the points, which also depend on the picture, but not on what was
    refined before. name: for results."""

    def __init__(self, network: Sam, preset: Preset, seed: int = 0, name: str = "sam") -> None:
        self.name = name
        self._network, self._preset, self._seed = network, preset, seed
        self._embeddings: OrderedDict[str, list[Tensor]] = OrderedDict()

    def refine_all(
        self, image: NDArray[np.uint8], logits: Sequence[NDArray[np.float32]], masks: Sequence[Mask]
    ) -> list[Mask]:
        """See `stamp_train.predict.refine.Refiner`."""
        _check(image, masks)
        height, width, _ = image.shape
        frame = self._network.frame(height, width)
        digest = blake3(np.ascontiguousarray(image).data).hexdigest()
        seed = int(blake3(f"{self._seed} {digest}".encode()).hexdigest()[:15], 16)
        refined = [mask.copy() for mask in masks]
        prompts = {
            number: prompt
            for number, (picture, mask) in enumerate(zip(logits, masks, strict=True))
            if mask.any() and (prompt := make_prompt(self._preset, frame, torch.as_tensor(picture), mask, seed))
        }
        for numbers in _alike(prompts):
            answers = self._ask(self._embed(digest, frame, image), frame, [prompts[number] for number in numbers])
            for number, low in zip(numbers, answers, strict=True):
                answer: Mask = (frame.restored(low[None])[0] > 0).numpy()
                if answer.any() or self._preset.keep_empty:
                    refined[number] = answer
        return refined

    def forget(self) -> None:
        """Drop the kept embeddings."""
        self._embeddings.clear()

    def _embed(self, digest: str, frame: Frame, image: NDArray[np.uint8]) -> list[Tensor]:
        key = f"{digest} {frame.height}"  # the same bytes may be a picture of another shape
        if key not in self._embeddings:
            self._embeddings[key] = self._network.embed(frame.pixels(image))
        self._embeddings.move_to_end(key)
        while len(self._embeddings) > EMBEDDINGS:
            self._embeddings.popitem(last=False)
        return self._embeddings[key]

    def _ask(self, embeddings: Sequence[Tensor], frame: Frame, prompts: Sequence[Prompt]) -> Tensor:
        """SAM's answers to prompts that have as many points: logits, float32 [B, prior_side, prior_side]."""
        asked = torch.stack([prompt.prior for prompt in prompts])
        points = torch.from_numpy(np.stack([prompt.points for prompt in prompts])).float()
        labels = torch.from_numpy(np.stack([prompt.labels for prompt in prompts]))
        corners = [prompt.box for prompt in prompts if prompt.box is not None]
        boxes = torch.from_numpy(np.stack(corners)).float() if corners else None
        priors = asked
        for number in range(self._preset.rounds):
            multimask = self._preset.multimask and number == 0
            low, iou = self._network.predict(embeddings, priors, points, labels, boxes, multimask)
            if not torch.isfinite(low).all():
                raise RefinerFault("SAM answered with numbers that are not finite")
            priors = _best(low, iou, asked, frame)
        return priors


def _best(low: Tensor, iou: Tensor, asked: Tensor, frame: Frame) -> Tensor:
    """Of several proposals, that with the highest predicted IoU times IoU with the mask asked about: [B, side, side]."""
    if low.shape[1] == 1:
        return low[:, 0]
    proposed, meant = (low > 0) & frame.inside, (asked > 0)[:, None] & frame.inside
    shared, either = (proposed & meant).sum((-2, -1)), (proposed | meant).sum((-2, -1))
    best = (iou.clamp(min=0) * shared / either.clamp(min=1)).argmax(1)
    return low[torch.arange(len(low)), best]


def _alike(prompts: dict[int, Prompt]) -> list[list[int]]:
    """Their numbers in batches of as many points: a point to fill up with would be one more that SAM attends to."""
    by_points: dict[int, list[int]] = {}
    for number, prompt in prompts.items():
        by_points.setdefault(len(prompt.points), []).append(number)
    return [numbers[i : i + PROMPTS] for numbers in by_points.values() for i in range(0, len(numbers), PROMPTS)]


def _check(image: NDArray[np.uint8], masks: Sequence[Mask]) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise RefinerFault(f"the picture is {image.dtype} {list(image.shape)}, not uint8 [height, width, 3]")
    for mask in masks:
        if mask.shape != image.shape[:2]:
            raise RefinerFault(f"the mask is {list(mask.shape)}, the picture {list(image.shape[:2])}")
