"""Synthetic scenes out of shards, decoded once, for the training that `head.py` does."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from stamp_data.build.jobs import Job, run_job
from stamp_data.executors.local import LocalExecutor
from stamp_data.grid import rle_coverage
from stamp_data.shards.reader import ShardSet
from stamp_data.synth import synthesize
from stamp_schemas import RLE, Grid
from stamp_train.backbones.presets import byte_tokenizer
from stamp_train.backbones.processor import StampProcessor
from stamp_train.sequence.examples import DialogueExample, ImageExample

PICTURES, SIDE, TOKENS = 1500, 224, 8  # pictures in all (588 of them for training), their pixels and patches per side
HELD_OUT, SCORED = ("val", "testA", "testB"), 240  # splits and number of the pictures that are scored
SCENES = "scenes.pt"


@dataclass(frozen=True)
class Scene:
    """A picture (float16 [256, 1176]) and, for each of its dialogues, messages, mask and coverage at side 1 and 4."""

    pixels: Tensor
    messages: list[list[dict[str, Any]]]
    masks: list[RLE]
    coverage: dict[int, list[np.ndarray]]

    def example(self, dialogues: list[int], side: int) -> ImageExample:
        chosen = [DialogueExample(str(i), self.messages[i], [self.coverage[side][i]]) for i in dialogues]
        return ImageExample(chosen, self.pixels.float(), (1, 2 * TOKENS, 2 * TOKENS))


def make_scenes(folder: Path) -> None:
    """Draw, build, read and decode everything once, into `folder`; also a tokenizer that knows the words."""
    if (folder / SCENES).exists():
        return
    shards = folder / "shards" / "refcoco+-unc"
    synthesize(folder / "raw", images=PICTURES, size=(SIDE, SIDE))
    tokens = TOKENS * TOKENS
    job = Job(("refcoco+",), folder / "raw", folder / "shards", split_by="unc", min_tokens=tokens, max_tokens=tokens)
    for built in run_job(job, LocalExecutor(1), lambda *_: None):
        print(built.summary(), flush=True)
    scenes = {"train": read_scenes(shards, ("train",)), "held out": read_scenes(shards, HELD_OUT)[:SCORED]}
    turns = [turn for scene in scenes["train"] for messages in scene.messages for turn in messages]
    texts = [part["text"] for turn in turns for part in turn["content"] if part["type"] == "text"]
    roles = 2 * ["system\n", "user\n", "assistant\n", "You are a helpful assistant."]
    tokenizer = byte_tokenizer().train_new_from_iterator([*texts, *roles], vocab_size=1000, show_progress=False)
    tokenizer.save_pretrained(folder / "tokenizer")
    torch.save(scenes, folder / SCENES)


def read_scenes(shards: Path, splits: tuple[str, ...]) -> list[Scene]:
    area = (28 * TOKENS) ** 2
    processor = StampProcessor(byte_tokenizer(), Qwen2VLImageProcessorPil(min_pixels=area, max_pixels=area))
    found = []
    for split in splits:
        with ShardSet(shards / split) as opened:
            for one in opened:
                [pixels] = processor.images([Image.open(io.BytesIO(one.image or b"")).convert("RGB")])
                dialogues = [dialogue for dialogue in one.record.dialogues if len(dialogue.targets) == 1]
                rles = [one.record.targets[dialogue.targets[0]].rle for dialogue in dialogues]
                coverage = {
                    side: [rle_coverage(rle, Grid(side * TOKENS, side * TOKENS)) for rle in rles] for side in (1, 4)
                }
                messages = [[as_dict(message) for message in dialogue.messages] for dialogue in dialogues]
                found.append(Scene(pixels.pixel_values.half(), messages, rles, coverage))
    return found


def as_dict(message: Any) -> dict[str, Any]:
    parts = [{"type": part.type} | ({"text": part.text} if part.type == "text" else {}) for part in message.content]
    return {"role": message.role, "content": parts}
