"""A tiny model with something to say, now and then `<|seg|>`, and pictures to ask it about."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

from stamp_train.backbones.modeling import model_class
from stamp_train.backbones.presets import build_preset, preset_config
from stamp_train.generation.generate import StampGenerator
from stamp_train.generation.sampling import GenerationOptions

SEG = "<|seg|>"
TEXTS = ("the cup", "two dogs and a boat, please", "x", "Where is it?")


@cache
def talking_generator() -> StampGenerator:
    """Random weights, made loud, with an output matrix of their own; do not change them."""
    processor = build_preset("tiny")[1]
    config: Any = preset_config("tiny", processor.tokenizer)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    torch.manual_seed(3)
    model: Any = model_class("qwen2_vl")._from_config(config).eval()
    with torch.no_grad():
        for weight in model.model.parameters():
            weight.mul_(4 if weight.ndim > 1 else 1)
        model.lm_head.weight.normal_()
        # It speaks ASCII: halves of characters cannot be read back from text.
        spoken = processor.chat.text_ids("".join(map(chr, range(33, 127))))
        silent = [i for i in range(len(model.lm_head.weight)) if i not in spoken]
        model.lm_head.weight[silent] = 0
        model.classifier.out.weight.mul_(20)
    model.generation_config.eos_token_id = processor.chat.control["<|im_end|>"]
    generator = StampGenerator(model, processor)
    answers = generator.generate([scene()], [list(TEXTS)], GenerationOptions(max_new_tokens=12))[0]
    favourites = Counter(i for answer in answers for i in answer.ids[4:])
    with torch.no_grad():  # wherever it would say its favourite token, it now says <|seg|>
        model.lm_head.weight[processor.chat.seg_id] = 1.1 * model.lm_head.weight[favourites.most_common(1)[0][0]]
    return generator


def scene(width: int = 112, height: int = 84, shift: int = 0) -> Image.Image:
    """A red disk and a blue box on green; `shift` moves the disk."""
    picture = Image.new("RGB", (width, height), (90, 140, 90))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((10 + shift, 15, 50 + shift, 60), fill=(210, 60, 40))
    draw.rectangle((70, 30, 100, 75), fill=(40, 70, 200))
    return picture


def save_checkpoint(folder: Path) -> Path:
    """The model as a folder."""
    generator = talking_generator()
    generator.model.save_pretrained(folder)
    generator.processor.save_pretrained(folder)
    return folder
