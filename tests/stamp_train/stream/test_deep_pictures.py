"""Every place of training and prediction that decodes a picture scales deep grey, and reads TIFF in the right frame."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stamp_data.pixels import decode_picture
from stamp_data.rle import encode
from stamp_train.eval.sample_images import Sample, picture
from stamp_train.eval.scoring import Line
from stamp_train.predict.image import open_image
from stamp_train.predict.inputs import read_requests

GREY = np.arange(96, dtype=np.uint16).reshape(8, 12) * 680 + 37
SHADES = (GREY >> 8).astype(np.uint8)


def stored(form: str, orientation: int = 1) -> bytes:
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(GREY).save(buffer, form, exif=exif)
    return buffer.getvalue()


def opened(data: bytes, folder: Path) -> Image.Image:
    (folder / "picture").write_bytes(data)
    return open_image(folder / "picture")


READERS: dict[str, Callable[[bytes, Path], Image.Image]] = {
    "stream": lambda data, _: decode_picture(data),
    "predict": opened,
    "predict-pil": lambda data, _: open_image(Image.open(io.BytesIO(data))),
    "predict-bytes": lambda data, _: open_image(data),
}


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("reader", READERS)
def test_deep_grey_is_scaled(reader: str, form: str, tmp_path: Path) -> None:
    found = np.asarray(READERS[reader](stored(form), tmp_path))
    assert np.array_equal(found, np.repeat(SHADES[..., None], 3, axis=2))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_training_sees_pictures_as_stored_and_people_upright(form: str, tmp_path: Path) -> None:
    data = stored(form, 6)
    assert np.array_equal(np.asarray(decode_picture(data))[..., 0], SHADES)
    for upright in (opened(data, tmp_path), open_image(data)):
        assert np.array_equal(np.asarray(upright)[..., 0], np.rot90(SHADES, -1))


def test_every_kind_of_picture_is_found_in_folders(tmp_path: Path) -> None:
    for extension in ("tif", "TIFF", "webp"):
        (tmp_path / f"a.{extension}").write_bytes(stored("TIFF"))
    asked = list(read_requests([tmp_path], ["what?"], []))
    assert len(asked) == 3


def test_predictions_of_a_deep_picture_are_drawn_on_its_shades() -> None:
    nothing = encode(np.zeros(GREY.shape, np.uint8))
    line = Line(set="x/val", id="k/0", expression="it", size=GREY.shape, counts=nothing.counts)
    page = picture(Sample(decode_picture(stored("PNG")), np.zeros(GREY.shape, bool), line))
    assert np.array_equal(np.asarray(page)[:8, :12, 0], SHADES)
