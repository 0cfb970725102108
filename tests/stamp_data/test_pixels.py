"""Pixels: grey of any depth is scaled, and a picture is decoded as its file stores it, or upright, whatever its format."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stamp_data import pixels
from stamp_data.picture import PictureFault, check_picture
from stamp_data.pixels import as_png, browser_type, decode_picture, thumbnail, to_rgb

GREY = np.arange(96, dtype=np.uint16).reshape(8, 12) * 680 + 37  # 0 to 64,637
COLOURS = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)

UPRIGHT: dict[int, Callable[[Any], Any]] = {
    1: lambda stored: stored,
    2: np.fliplr,
    3: lambda stored: np.rot90(stored, 2),
    4: np.flipud,
    5: lambda stored: np.fliplr(np.rot90(stored, -1)),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: np.fliplr(np.rot90(stored)),
    8: np.rot90,
}
"""What the EXIF standard says of each orientation: where the stored first row and first column belong."""


def encoded(image: Image.Image, form: str, **save: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **save)
    return buffer.getvalue()


def oriented(stored: Any, form: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    return encoded(Image.fromarray(stored), form, exif=exif if form == "TIFF" else exif.tobytes(), **lossless)


DEEP = {
    "png": encoded(Image.fromarray(GREY), "PNG"),
    "tiff": encoded(Image.fromarray(GREY), "TIFF"),
    "tiff-deflated": encoded(Image.fromarray(GREY), "TIFF", compression="tiff_adobe_deflate"),
    "tiff-32": encoded(Image.fromarray(GREY.astype(np.int32)), "TIFF"),
    "tiff-float": encoded(Image.fromarray(GREY.astype(np.float32)), "TIFF"),
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_grey_is_scaled(name: str) -> None:
    for picture in (decode_picture(DEEP[name]), Image.open(io.BytesIO(as_png(DEEP[name], "x")))):
        assert np.array_equal(picture, np.repeat((GREY >> 8).astype(np.uint8)[..., None], 3, axis=2))
    shown = np.asarray(thumbnail(DEEP[name], "x", 12))
    assert shown.max() > 240 and len(np.unique(shown)) > 50, "a gallery shows shades, not white"


def test_big_endian_grey_is_scaled() -> None:
    picture = Image.frombytes("I;16B", (12, 8), GREY.astype(">u2").tobytes())
    assert np.array_equal(np.asarray(to_rgb(picture))[..., 0], GREY >> 8)


@pytest.mark.parametrize(
    ("values", "shades"),
    [
        ([0.0, 0.5, 1.0], [0, 127, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([-1000.0, 0.0, 1000.0], [0, 127, 255]),
        ([0.0, 1e6, 2e6], [0, 127, 255]),
        ([float("nan"), 3.0, float("inf")], [0, 3, 0]),
        ([5.0, 5.0, 5.0], [5, 5, 5]),
        ([-2.0, -2.0, -2.0], [0, 0, 0]),
    ],
)
def test_floats_are_scaled_by_the_range_that_holds_them(values: list[float], shades: list[int]) -> None:
    picture = Image.fromarray(np.array([values], np.float32))
    assert np.asarray(to_rgb(picture))[0, :, 0].tolist() == shades


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_eight_bits_are_converted_as_ever(mode: str) -> None:
    picture = (
        Image.fromarray(COLOURS).convert("L").convert(mode) if mode == "PA" else Image.fromarray(COLOURS).convert(mode)
    )
    assert np.array_equal(to_rgb(picture), picture.convert("RGB"))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pictures_are_decoded_as_stored_or_upright(form: str, orientation: int) -> None:
    data = oriented(COLOURS, form, orientation)
    stored = np.asarray(decode_picture(oriented(COLOURS, form, 1)))
    if form != "JPEG":
        assert np.array_equal(stored, COLOURS)
    checked = check_picture(data, "x")
    assert (checked.width, checked.height, checked.orientation) == (10, 6, orientation)
    assert np.array_equal(decode_picture(data), stored)
    assert np.array_equal(thumbnail(data, "x", 10), stored)
    assert np.array_equal(decode_picture(data, upright=True), UPRIGHT[orientation](stored))


def test_exif_behind_the_pixels_of_a_png_is_seen() -> None:
    data = oriented(COLOURS, "PNG", 6)
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    moved = data[:start] + data[end:-12] + data[start:end] + data[-12:]
    assert check_picture(moved, "x").orientation == 6
    assert np.array_equal(decode_picture(moved, upright=True), np.rot90(COLOURS, -1))


def noise(mode: str, width: int = 61, height: int = 47) -> Image.Image:
    small = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


JPEGS = {
    f"{mode} {options}": encoded(noise(mode), "JPEG", **options)
    for mode in ("RGB", "L", "CMYK")
    for options in ({"quality": 85}, {"quality": 100, "subsampling": 0}, {"subsampling": 1, "progressive": True})
}


@pytest.mark.parametrize("name", JPEGS)
def test_both_decoders_make_the_same_pixels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg")
    data = memoryview(JPEGS[name])
    assert (pixels._by_simplejpeg(data) is None) == name.startswith("CMYK")
    first = np.asarray(decode_picture(data))
    monkeypatch.setattr(pixels, "_simplejpeg", lambda: None)
    assert np.array_equal(first, np.asarray(decode_picture(data)))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP"])
def test_other_formats_are_decoded(kind: str) -> None:
    image = noise("RGB")
    options = {"lossless": True} if kind == "WEBP" else {}
    found = decode_picture(encoded(image, kind, **options))
    assert (found.mode, found.size) == ("RGB", image.size)
    assert kind == "GIF" or np.array_equal(np.asarray(found), np.asarray(image))


@pytest.mark.parametrize(
    "data", [b"", b"nothing", JPEGS["RGB {'quality': 85}"][:300], encoded(noise("RGB"), "PNG")[:900]]
)
def test_what_is_no_picture_is_refused_by_both(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PictureFault):
        decode_picture(data)
    monkeypatch.setattr(pixels, "_simplejpeg", lambda: None)
    with pytest.raises(PictureFault):
        decode_picture(data)


def test_a_jpeg_that_claims_too_many_pixels_is_decoded_by_nobody() -> None:
    data = bytearray(JPEGS["RGB {'quality': 85}"])
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (9_000).to_bytes(2, "big") + (9_500).to_bytes(2, "big")
    with pytest.raises(PictureFault, match="9500×9000 pixels; at most"):
        decode_picture(bytes(data))


RED, GREEN = (Image.new("RGB", (4, 4), colour) for colour in ("red", "green"))
CLEAR = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
MOVING = {"save_all": True, "append_images": [GREEN]}


@pytest.mark.parametrize(
    ("data", "extension", "kind"),
    [
        (encoded(RED, "JPEG"), "jpg", "image/jpeg"),
        (
            encoded(RED, "MPO", **MOVING),
            "jpg",
            "image/jpeg",
        ),  # as phones write, with a second picture that nobody shows
        (encoded(RED, "PNG"), "png", "image/png"),
        (encoded(RED.quantize(), "PNG"), "png", "image/png"),
        (encoded(RED, "WEBP"), "webp", "image/webp"),
        (encoded(RED, "GIF"), "gif", "image/gif"),
        (encoded(RED, "BMP"), "bmp", "image/bmp"),
        (encoded(RED, "TIFF"), "tif", ""),
        *((encoded(RED, form.upper(), **MOVING), form, "") for form in ("gif", "png", "webp")),
        *((encoded(CLEAR, form.upper()), form, "") for form in ("gif", "png", "webp")),
        (encoded(RED.quantize(), "PNG", transparency=0), "png", ""),
        (encoded(Image.new("L", (4, 4)), "PNG", transparency=0), "png", ""),
    ],
)
def test_browsers_are_given_what_they_show_as_it_is_decoded(data: bytes, extension: str, kind: str) -> None:
    assert browser_type(data, extension, "x") == kind
