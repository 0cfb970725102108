"""How a mask is refined: numbers of points and rounds, what the prompts are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Preset:
    """Settings of a refinement.

    Attributes:
        prompts: `soft` makes the mask prompt of the model's probabilities and draws points by confidence; `published` makes
            both of the hard mask exactly as STAMP's code does, its padding fault included.
        positive, negative: points inside and outside the mask, at most; fewer where there are fewer pixels.
        box: also prompt with the mask's box.
        rounds: passes of the mask decoder; each after the first is prompted with the logits of the one before.
        multimask: let the first round propose three masks and take that with the highest predicted IoU times its IoU with the
            mask to be refined. Otherwise every round proposes one.
        keep_empty: an empty answer stands; otherwise the unrefined mask is kept.
    """

    prompts: Literal["soft", "published"]
    positive: int
    negative: int
    box: bool
    rounds: int
    multimask: bool
    keep_empty: bool


PRESETS = {
    "stamp": Preset("soft", positive=10, negative=10, box=True, rounds=2, multimask=True, keep_empty=False),
    "published": Preset("published", positive=10, negative=10, box=False, rounds=3, multimask=False, keep_empty=True),
}
"""`stamp` is the default; `published` does what STAMP's released evaluation does (`eval/eval_refer_seg.py`)."""
