"""The image side of the processor."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from stamp_train.backbones.processor import StampProcessor
from stamp_train.sequence.errors import StampModelError


def test_published_bounds_are_the_default(tiny: SimpleNamespace) -> None:
    pixels = StampProcessor(tiny.processor.tokenizer).images([Image.new("RGB", (640, 480), "red")])[0]
    assert pixels.grid_thw == (1, 56, 74)  # 28 x 37 merged patches
    assert pixels.pixel_values.shape == (56 * 74, 1176)
    assert pixels.pixel_values.dtype == torch.float32


def test_bounds_can_be_chosen_at_load(golden_model_path: Path) -> None:
    image = Image.new("RGB", (200, 200))
    processor = StampProcessor.from_pretrained(golden_model_path)
    stored = processor.images([image])[0].grid_thw
    processor.bound(100, 144)
    chosen = processor.images([image])[0].grid_thw
    assert processor.bounds == (100, 144)
    assert stored == (1, 8, 8)
    assert chosen == (1, 20, 20)


def test_saved_with_its_backend_and_loaded_again(tiny: SimpleNamespace, tmp_path: Path) -> None:
    tiny.processor.save_pretrained(tmp_path)
    record = json.loads((tmp_path / "stamp_processor.json").read_text(encoding="utf-8"))
    assert record["image_backend"] == "pil" and set(record) == {"image_backend", "pillow", "transformers"}
    again = StampProcessor.from_pretrained(tmp_path, tiny.processor.backbone)
    assert again.chat.control.items() <= tiny.chat.control.items()  # which other tests have asked for more
    image = Image.effect_noise((90, 60), 50).convert("RGB")
    before, after = tiny.processor.images([image])[0], again.images([image])[0]
    assert before.grid_thw == after.grid_thw
    assert torch.equal(before.pixel_values, after.pixel_values)


def test_an_image_that_cannot_be_taken(tiny: SimpleNamespace) -> None:
    with pytest.raises(StampModelError, match="image 1: absolute aspect ratio"):
        tiny.processor.images([Image.new("RGB", (50, 50)), Image.new("RGB", (3000, 10))])
