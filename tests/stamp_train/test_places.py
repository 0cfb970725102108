"""Features that are told where they lie."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sin
from pathlib import Path
from typing import Any

import torch

from stamp_train.model import StampConfig, load_checkpoint
from stamp_train.model.places import Places
from stamp_train.model.presets import build_preset

GRIDS = torch.tensor([[1, 4, 6], [1, 2, 4]])  # 2x3 and 1x2 merged patches


def test_places_are_a_map_of_waves_along_both_axes() -> None:
    layer = Places(32)
    found = layer(GRIDS)
    wanted = []
    for height, width in ((2, 3), (1, 2)):
        for row in range(height):
            for column in range(width):
                shares = ((row + 0.5) / height, (column + 0.5) / width)
                waves = [wave(share * pi / 2 * turn) for share in shares for wave in (sin, cos) for turn in range(1, 5)]
                wanted.append(torch.tensor(waves) * (32 / 8) ** 0.5)
    torch.testing.assert_close(found, torch.stack(wanted) @ layer.weight.T)


def test_a_model_adds_them_to_what_the_language_model_sees_and_keeps_them(
    pack: Callable[..., Any], tmp_path: Path
) -> None:
    model, _ = build_preset("tiny", stamp=StampConfig(places=True))
    pixels = torch.rand(32, 1176)
    told = model.encode_images(pixels, GRIDS)
    places, model.places = model.places, None
    plain = model.encode_images(pixels, GRIDS)
    model.places = places
    torch.testing.assert_close(told.merged - plain.merged, places(GRIDS), atol=1e-6, rtol=1e-4)
    assert torch.equal(told.patches, plain.patches)
    inputs = pack([((2, 3), [1])]).inputs
    model.save_pretrained(tmp_path)
    again = load_checkpoint(tmp_path)
    assert again.stamp_config.places
    with torch.no_grad():
        assert torch.equal(again(inputs=inputs).mask_logits, model.eval()(inputs=inputs).mask_logits)
