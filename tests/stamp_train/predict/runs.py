"""A run that trains an adapter, as its folder looks after a checkpoint."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration

from stamp_schemas.recipe import Saving
from stamp_train.backbones.presets import preset_config
from stamp_train.backbones.processor import StampProcessor
from stamp_train.generation.generate import StampGenerator
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.recipes import resolve
from stamp_train.train.checkpoint import CheckpointWriter
from stamp_train.train.folder import Progress
from stamp_train.train.network import build_network, save_network

from .talking import SEG, scene, talking_generator

RECIPE = """
about: an adapter on random weights
model: {preset: tiny, head_width: 16, precision: float32, tuning: lora, lora: {rank: 4, alpha: 8}}
data: {root: nowhere, min_tokens: 4, max_tokens: 16, threads: 0}
stages: [{name: only, steps: 3, sets: [{set: refcoco-unc/train}]}]
"""


def adapter_run(folder: Path, *overrides: str) -> SimpleNamespace:
    """A run folder with one checkpoint of an adapter that changes the answers; and the networks, for comparison."""
    folder.mkdir(parents=True)
    (folder / "given.yaml").write_text(RECIPE)
    resolved = resolve(str(folder / "given.yaml"), overrides)
    (folder / "recipe.yaml").write_text(resolved.yaml())
    network, processor = build_network(resolved.recipe)
    torch.manual_seed(5)
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3)
    writer = CheckpointWriter(folder / "checkpoints", Saving())
    writer.write(
        Progress(step=3, stage=0, stage_step=3, stream={}), {}, lambda into: save_network(network, processor, into)
    )
    writer.close()
    base = build_network(resolved.recipe)[0]
    return SimpleNamespace(
        network=network, base=base, processor=processor, checkpoint=folder / "checkpoints" / "step-000003"
    )


def base_model(folder: Path, *, tied: bool) -> Path:
    """A base model of random weights, without a mask head."""
    processor = talking_generator().processor
    config = preset_config("tiny", processor.tokenizer)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = tied
    del config.stamp
    torch.manual_seed(1)
    Qwen2VLForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def adapter_answer(network: Any, processor: StampProcessor) -> Tensor:
    """Mask logits of a network that has its adapter beside the weights still."""
    generator = StampGenerator(network.get_base_model().eval(), processor)
    return generator.ask(scene(), "x", GenerationOptions(begin=SEG, max_new_tokens=0)).masks[0]
