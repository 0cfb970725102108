"""Predictions as pictures: the true mask on the left, the predicted one on the right, the expression below."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from stamp_data.draw.overlay import with_masks
from stamp_data.pixels import decode_picture
from stamp_train.eval.heldout import Prediction

_TRUTH, _PREDICTED = "#009e73", "#d55e00"  # green and orange of Okabe and Ito, apart for colour-blind eyes too
_LINE = 16  # pixels of a line of text
_LONGEST = 80  # characters


def draw(predictions: Sequence[Prediction], folder: Path) -> None:
    """Write one PNG per prediction, `00.png` and on; those of before are overwritten."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, prediction in enumerate(predictions):
        encoded = io.BytesIO()  # Pillow's own writing to a file does not say why it failed
        picture(prediction).save(encoded, "PNG")
        (folder / f"{number:02d}.png").write_bytes(encoded.getvalue())


def picture(prediction: Prediction) -> Image.Image:
    """Truth and prediction of one mask side by side."""
    image = decode_picture(prediction.held_out.image)
    width, height = image.size
    page = Image.new("RGB", (2 * width, height + _LINE), "white")
    page.paste(with_masks(image, [prediction.truth], [_TRUTH]), (0, 0))
    page.paste(with_masks(image, [prediction.predicted], [_PREDICTED]), (width, 0))
    union = int((prediction.truth | prediction.predicted).sum())
    score = int((prediction.truth & prediction.predicted).sum()) / union if union else 1.0
    text = prediction.expression.encode("ascii", "replace").decode()[:_LONGEST]
    ImageDraw.Draw(page).text((4, height + 2), f"{score:.2f}  {text}", fill="black")
    return page
