"""Predictions as pictures: the same image side by side, the true mask on the left, with words below."""

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
_LINE, _GAP = 16, 4  # pixels of a line of text, and between two images
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
    """Truth and prediction of one mask side by side, the expression below."""
    text = sample.line.expression.encode("ascii", "replace").decode()[:_LONGEST]
    told = f"{sample.line.iou:.2f}  {text}"
    return side_by_side(sample.image, [(told, sample.truth, _TRUTH), ("", sample.line.mask(), _PREDICTED)])


def side_by_side(image: Image.Image, panels: Sequence[tuple[str, Mask, str]]) -> Image.Image:
    """An RGB image once for each of these masks, bool [height, width], in its colour (#rrggbb) and with its words below."""
    width, height = image.size
    sheet = Image.new("RGB", (len(panels) * (width + _GAP) - _GAP, height + _LINE), "white")
    pen = ImageDraw.Draw(sheet)
    for number, (words, mask, colour) in enumerate(panels):
        left = number * (width + _GAP)
        sheet.paste(with_masks(image, [mask], [colour]), (left, 0))
        pen.text((left + 2, height + 2), words, fill="black")
    return sheet
