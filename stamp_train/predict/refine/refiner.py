"""What the rest of the project sees of refinement: refiners by name, and that no answer fails for one."""

from __future__ import annotations

import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from blake3 import blake3
from numpy.typing import NDArray
from torch import Tensor

from stamp_train.predict.refine.faults import HOW_TO_GET_WEIGHTS, RefinerFault, on_one_line
from stamp_train.predict.refine.frame import Frame
from stamp_train.predict.refine.prompts import PRESETS, Mask, Preset, Prompt, make_prompt

if TYPE_CHECKING:
    from stamp_train.predict.refine.network import Sam

NONE = "none"  # name of what stands in where no refiner can be had
EMBEDDINGS = 4  # pictures whose embedding is kept, for callers that bring the masks of a batch one by one
PROMPTS = 16  # masks per pass of the mask decoder
Say = Callable[[str], None]


def to_stderr(text: str) -> None:
    """One line to the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


class Refiner:
    """Makes masks better where SAM can: what fails comes back unrefined, and each reason is said once.

    seed: of the points, which also depend on the picture, but not on what was refined
    before. `name` tells in results what refines, with which settings and seed; `none` where nothing does. `failed` counts the
    masks that could not be refined.
    """

    def __init__(self, network: Sam, preset: Preset, seed: int = 0, name: str = "sam", say: Say = to_stderr) -> None:
        self.name, self.failed = name, 0
        self._network, self._preset, self._seed, self._say = network, preset, seed, say
        self._said: set[str] = set()
        self._embeddings: OrderedDict[str, list[Tensor]] = OrderedDict()

    def refine(self, image: NDArray[np.uint8], logits: NDArray[np.float32], mask: Mask) -> Mask:
        """One mask refined, bool [height, width]; an empty one stays empty.

        image: RGB, uint8 [height, width, 3]. logits: the model's, float32 [h, w] on a grid of any size over the whole image.
        mask: bool [height, width], what the model's mask is without refinement.
        """
        return self.refine_all(image, [logits], [mask])[0]

    def refine_all(
        self, image: NDArray[np.uint8], logits: Sequence[NDArray[np.float32]], masks: Sequence[Mask]
    ) -> list[Mask]:
        """All masks of one image at once: the same masks as `refine` gives, in less time."""
        try:
            return self._refined(image, logits, masks)
        except Exception as error:  # a refiner is an extra: whatever it dies of, the mask is there
            self._embeddings.clear()
            if len(masks) == 1:
                self._tell(error)
                self.failed += 1
                return [masks[0].copy()]
        # One bad mask must not take the others along, and one at a time needs less memory.
        return [self.refine(image, coarse, mask) for coarse, mask in zip(logits, masks, strict=True)]

    def _refined(
        self, image: NDArray[np.uint8], logits: Sequence[NDArray[np.float32]], masks: Sequence[Mask]
    ) -> list[Mask]:
        """The same, and whatever goes wrong is raised."""
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

    def _tell(self, error: Exception) -> None:
        reason = _told(error).removesuffix(": ")
        kind = re.sub(r"\d+", "", reason)  # sizes and addresses do not make it another reason
        if kind not in self._said:
            self._said.add(kind)
            self._say(f"{self.name}: a mask stays unrefined: {reason}")


class Unrefined(Refiner):
    """Stands in where no refiner can be had: masks stay as they are."""

    def __init__(self) -> None:
        self.name, self.failed = NONE, 0

    def _refined(self, *asked: Any) -> list[Mask]:
        return [mask.copy() for mask in asked[-1]]


def works(refiner: Refiner | None) -> bool:
    """Whether there is a refiner that was to be had."""
    return refiner is not None and refiner.name != NONE


def load_refiner(
    spec: str,
    device: torch.device | str = "cpu",
    preset: str | Preset = "stamp",
    seed: int = 0,
    rounds: int | None = None,
    say: Say = to_stderr,
    *,
    optional: bool = False,
) -> Refiner:
    """The refiner of a specification: `sam:PATH` with an official `sam_vit_{b,l,h}_*.pth` file, a Hugging Face folder or a
    model in the Hugging Face cache; SAM runs in float32, and nothing is downloaded.

    preset: a name of `PRESETS`, or settings of your own; rounds: instead of the preset's; seed: of the points. say: gets one
    line for each kind of failure. Where it cannot be had, RefinerFault; if it is optional, that is said, and what comes back
    leaves masks as they are.
    """
    try:
        return _open(spec, device, preset, seed, rounds, say)
    except Exception as error:  # whatever opening it dies of, in the libraries too, is one line
        fault = error if isinstance(error, RefinerFault) else RefinerFault(_told(error))
        if optional:
            say(f"--refine {spec}: {fault}; masks stay unrefined")
            return Unrefined()
        hint = f"{fault.hint}; --refine-optional goes on unrefined".removeprefix("; ")
        raise RefinerFault(f"--refine {spec}: {fault.message}", hint) from error


def _open(
    spec: str, device: torch.device | str, preset: str | Preset, seed: int, rounds: int | None, say: Say
) -> Refiner:
    kind, _, path = spec.partition(":")
    if kind != "sam" or not path:
        raise RefinerFault("no such refiner", f"sam:PATH; {HOW_TO_GET_WEIGHTS}")
    if isinstance(preset, str) and preset not in PRESETS:
        raise RefinerFault(f"no preset {preset!r}", f"one of {', '.join(PRESETS)}")
    label, settings = (preset, PRESETS[preset]) if isinstance(preset, str) else ("custom", preset)
    if rounds is not None:
        if rounds < 1:
            raise RefinerFault(f"{rounds} rounds refine nothing", "1 or more")
        settings = replace(settings, rounds=rounds)
    from stamp_train.predict.refine.network import open_sam  # transformers, loaded only where it is asked for

    name = f"{kind}:{Path(path).name} ({label}, rounds {settings.rounds}, seed {seed})"
    return Refiner(open_sam(path, torch.device(device)), settings, seed, name, say)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {on_one_line(error)}"


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
