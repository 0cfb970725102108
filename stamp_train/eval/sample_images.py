"""Predictions as pictures: the true mask on the left, the predicted one on the right, the expression below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from stamp_data.draw.overlay import with_masks
from stamp_data.pixels import encoded
from stamp_train.eval.cases import Mask
from stamp_train.eval.scoring import Line

_TRUTH, _PREDICTED = "#009e73", "#d55e00"  # green and orange of Okabe and Ito, apart for colour-blind eyes too
_LINE = 16  # pixels of a line of text
_LONGEST = 80  # characters


@dataclass(frozen=True)
class Sample:
    """A mask of an RGB image: the true one, bool [height, width], and the line of what was predicted."""

    image: Image.Image
    truth: Mask
    line: Line


def draw(samples: Sequence[Sample], folder: Path) -> None:
    """Write one PNG per sample, `00.png` and on; those of before are overwritten."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(samples):
        (folder / f"{number:02d}.png").write_bytes(encoded(picture(sample)))


def picture(sample: Sample) -> Image.Image:
    """Truth and prediction of one mask side by side."""
    width, height = sample.image.size
    page = Image.new("RGB", (2 * width, height + _LINE), "white")
    page.paste(with_masks(sample.image, [sample.truth], [_TRUTH]), (0, 0))
    page.paste(with_masks(sample.image, [sample.line.mask()], [_PREDICTED]), (width, 0))
    text = sample.line.expression.encode("ascii", "replace").decode()[:_LONGEST]
    ImageDraw.Draw(page).text((4, height + 2), f"{sample.line.iou:.2f}  {text}", fill="black")
    return page
