"""What the rest of the project sees of refinement: refiners by name, and that no answer fails for one."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from stamp_train.predict.refine.faults import HOW_TO_GET_WEIGHTS, RefinerFault, on_one_line
from stamp_train.predict.refine.prompts import PRESETS, Mask, Preset
from stamp_train.predict.refine.sam import SamRefiner

NONE = "none"  # name of what stands in where no refiner can be had
Say = Callable[[str], None]


def to_stderr(text: str) -> None:
    """One line to the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


class Refiner:
    """Makes masks better where SAM can: what fails comes back unrefined, and each reason is said once.

    `name` tells in results what refines, with which settings and seed; `none` where nothing does. `failed` counts the masks
    that could not be refined.
    """

    def __init__(self, sam: SamRefiner | None, say: Say = to_stderr) -> None:
        self.name, self.failed = sam.name if sam else NONE, 0
        self._sam, self._say = sam, say
        self._said: set[str] = set()

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
        if self._sam is None:
            return [mask.copy() for mask in masks]
        try:
            return self._sam.refine_all(image, logits, masks)
        except Exception as error:  # a refiner is an extra: whatever it dies of, the mask is there
            self._sam.forget()
            if len(masks) == 1:
                self._tell(error)
                self.failed += 1
                return [masks[0].copy()]
        # One bad mask must not take the others along, and one at a time needs less memory.
        return [self.refine(image, coarse, mask) for coarse, mask in zip(logits, masks, strict=True)]

    def _tell(self, error: Exception) -> None:
        reason = _told(error).removesuffix(": ")
        kind = re.sub(r"\d+", "", reason)  # sizes and addresses do not make it another reason
        if kind not in self._said:
            self._said.add(kind)
            self._say(f"{self.name}: a mask stays unrefined: {reason}")


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
        return Refiner(_open(spec, device, preset, seed, rounds), say)
    except Exception as error:  # whatever opening it dies of, in the libraries too, is one line
        fault = error if isinstance(error, RefinerFault) else RefinerFault(_told(error))
        if optional:
            say(f"--refine {spec}: {fault}; masks stay unrefined")
            return Refiner(None, say)
        hint = f"{fault.hint}; --refine-optional goes on unrefined".removeprefix("; ")
        raise RefinerFault(f"--refine {spec}: {fault.message}", hint) from error


def _open(spec: str, device: torch.device | str, preset: str | Preset, seed: int, rounds: int | None) -> SamRefiner:
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
    return SamRefiner(open_sam(path, torch.device(device)), settings, seed, name)


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {on_one_line(error)}"
