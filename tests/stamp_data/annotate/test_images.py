"""The pictures by number."""

from __future__ import annotations

import os
from pathlib import Path

from stamp_data.annotate.images import Images

from .making import put_images


def test_a_number_is_another_picture_once_some_are_left_out(tmp_path: Path) -> None:
    images = Images(put_images(tmp_path, "a.bmp", "b.bmp"))
    for name in images.names:
        os.utime(tmp_path / name, (1, 1))  # bitmaps of one size, unpacked together
    first = images.file(0), images.pixels(0).copy()
    images.only(["b.bmp"])
    assert first[0].path == "a.bmp" and images.file(0).path == "b.bmp"
    assert (images.pixels(0) != first[1]).any()
