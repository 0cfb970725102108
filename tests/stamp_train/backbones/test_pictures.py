"""Pixel values and back: what a readout sees is the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from stamp_train.backbones.processor import make_images, pictures
from stamp_train.backbones.qwen2_vl import QWEN2_VL
from stamp_train.backbones.qwen3_vl import QWEN3_VL


@pytest.mark.parametrize("backbone", [QWEN2_VL, QWEN3_VL], ids=lambda one: one.name)
def test_pictures_of_the_processors_own_size_come_back(backbone) -> None:
    random = np.random.default_rng(0)
    sizes = [(2 * backbone.factor, 3 * backbone.factor), (4 * backbone.factor, backbone.factor)]
    given = [random.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]
    made = make_images(backbone, 1, 64)(images=[Image.fromarray(one) for one in given], return_tensors="pt")
    found = pictures(backbone, made["pixel_values"], made["image_grid_thw"])
    for picture, one in zip(found, given, strict=True):
        torch.testing.assert_close(picture, torch.from_numpy(one).permute(2, 0, 1) / 255, atol=1e-6, rtol=0)
