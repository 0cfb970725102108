"""Which small readout draws the best masks: all designs trained alike, on synthetic scenes from shards, scored held-out.

    python bench/head.py                                     # the whole table, two seeds; some 30 minutes of one core
    python bench/head.py --designs "patch; fine" --steps 300 # some of the rows, another length
    python bench/head.py --folder FOLDER                     # keep scenes and trunk there, and use them again
    python bench/head.py --trunk-steps 0 --steps 500         # no trunk: every design from random weights

All designs begin with one trunk, a model that has been trained with the published readout, so that it already finds what
is asked for: as in use, where the trunk is a large pretrained model. Then trunk and new readout are trained together. Per
seed, every design gets the same batches in the same order (four dialogues of each of 12 pictures) and the same schedule.
Masks are read at the places of the given answers (teacher-forced), brought to the size of the picture and cut at one
half. cIoU: all intersections over all unions. Found: share of masks with an IoU of at least one half; outline: mean IoU
of these, which tells how masks are drawn apart from what they are drawn of. Time is processor time of one thread.
"""

from __future__ import annotations

import argparse
import math
import platform
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from head_designs import DESIGNS
from scenes import SCENES, SIDE, Scene, make_scenes
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2VLConfig

from stamp_data.rle import decode
from stamp_train.backbones.modeling import model_class
from stamp_train.backbones.presets import preset_config
from stamp_train.methods.losses import total
from stamp_train.methods.stamp.losses import LossSettings
from stamp_train.methods.stamp.settings import StampSettings
from stamp_train.methods.upsample import to_mask
from stamp_train.sequence.chat import ChatEncoder
from stamp_train.sequence.examples import ImageExample
from stamp_train.sequence.layout import Layout

IMAGES, DIALOGUES, RATE, WARM_UP = 12, 4, 1.5e-3, 0.05
INITIAL = 0.08  # about one over the square root of the width: the usual 0.02 is made for wide models
SCORED_DIALOGUES = 4  # of each held-out picture
# (language layers, hidden, heads, key-value heads, vision layers, vision width, vision heads, width of the head)
SIZES = {"small": (3, 96, 3, 1, 2, 64, 2, 64), "middle": (4, 128, 4, 2, 3, 64, 4, 64)}
# row of the table -> (design, smooth: soft labels and bilinear enlarging; else hard labels and nearest)
VARIANTS = {"patch, hard, nearest": ("patch", False), "patch": ("patch", True), "fine": ("fine", True)}
VARIANTS |= {name: (name, True) for name in DESIGNS}


class Chat(ChatEncoder):
    """Remembers the ids of every text: tokenising would otherwise take a sixth of a step of so small a model."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer)
        self.known: dict[str, list[int]] = {}

    def text_ids(self, text: str) -> list[int]:
        if text not in self.known:
            self.known[text] = super().text_ids(text)
        return self.known[text]


def build_model(folder: Path, design: str, size: str, seed: int) -> tuple[Any, Layout]:
    """A model of random weights, with the tokenizer that `make_scenes` left."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    layers, hidden, heads, kv_heads, depth, width, vision_heads, head_width = SIZES[size]
    settings = StampSettings(head="patch" if design == "patch" else "fine", head_width=head_width)
    config = preset_config("tiny", tokenizer, settings).to_dict()
    third = hidden // heads * 3 // 16
    sections = [hidden // heads // 2 - 2 * third, third, third]
    config["text_config"] |= {
        "vocab_size": len(tokenizer), "num_hidden_layers": layers, "hidden_size": hidden, "intermediate_size": 2 * hidden,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "layer_types": ["full_attention"] * layers,
        # Few channels: at the usual base of a million the width axis, which has the lowest frequencies, would not turn.
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e2, "mrope_section": sections},
        "initializer_range": INITIAL,
    }  # fmt: skip
    config["vision_config"] |= {
        "depth": depth, "embed_dim": width, "num_heads": vision_heads, "mlp_ratio": 2, "hidden_size": hidden,
        "initializer_range": INITIAL,
    }  # fmt: skip
    torch.manual_seed(seed)  # the head is made last, so that all else is the same for every design
    model = model_class("qwen2_vl")._from_config(Qwen2VLConfig(**config))
    if design in DESIGNS:
        torch.manual_seed(seed)
        model.classifier = DESIGNS[design](hidden, width, settings)
    return model, Layout(Chat(tokenizer), model.method, model.config.text_config.max_position_embeddings)


@dataclass(frozen=True)
class Result:
    variant: str
    seed: int
    head_parameters: int
    seconds: float
    final: Score


@dataclass(frozen=True)
class Score:
    ciou: float
    outline: float
    found: float
    text: float


def train_trunk(folder: Path, size: str, steps: int) -> None:
    """The model that all designs begin with, trained with the published readout; that is thrown away."""
    torch.set_num_threads(1)
    scenes = torch.load(folder / SCENES, mmap=True, weights_only=False)
    model, layout = build_model(folder, "patch", size, seed=0)
    seconds = optimise(model, layout, scenes["train"], LossSettings(), steps, seed=0)
    kept = {name: value for name, value in model.state_dict().items() if not name.startswith("classifier.")}
    torch.save(kept, folder / trunk_name(size, steps))
    print(f"trunk: {steps} steps, {seconds:.0f} s; {score(model, layout, scenes['held out'], smooth=True)}", flush=True)


def train(folder: Path, variant: str, size: str, trunk_steps: int, steps: int, seed: int) -> Result:
    torch.set_num_threads(1)
    scenes = torch.load(folder / SCENES, mmap=True, weights_only=False)
    design, smooth = VARIANTS[variant]
    model, layout = build_model(folder, design, size, seed)
    if trunk_steps:
        keys = model.load_state_dict(torch.load(folder / trunk_name(size, trunk_steps)), strict=False)
        assert not keys.unexpected_keys and all(key.startswith("classifier.") for key in keys.missing_keys)
    seconds = optimise(model, layout, scenes["train"], LossSettings(hard_labels=not smooth), steps, seed + 1)
    final = score(model, layout, scenes["held out"], smooth)
    return Result(variant, seed, sum(p.numel() for p in model.classifier.parameters()), seconds, final)


def trunk_name(size: str, steps: int) -> str:
    return f"trunk-{size}-{steps}.pt"


def optimise(model: Any, layout: Layout, scenes: list[Scene], settings: LossSettings, steps: int, seed: int) -> float:
    """Train in place; processor seconds."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, steps))
    rng = np.random.default_rng(seed)
    start = time.process_time()
    model.method.loss = settings
    model.train()
    for _ in range(steps):
        batch = layout([draw(scenes, rng, layout.method.side) for _ in range(IMAGES)])
        total(model.method.losses(model(inputs=batch.inputs), batch.targets)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return time.process_time() - start


def draw(scenes: list[Scene], rng: np.random.Generator, side: int) -> ImageExample:
    scene = scenes[rng.integers(len(scenes))]
    chosen = rng.choice(len(scene.masks), min(DIALOGUES, len(scene.masks)), replace=False)
    return scene.example(chosen.tolist(), side)


def rate_at(step: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to nothing, as a share of the highest rate."""
    warm = max(1, int(WARM_UP * steps))
    return min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * max(0, step - warm) / (steps - warm))))


@torch.no_grad()
def score(model: Any, layout: Layout, scenes: list[Scene], smooth: bool) -> Score:
    model.eval()
    ious, overlaps, unions, right, said = [], 0, 0, 0, 0
    for start in range(0, len(scenes), IMAGES):
        some = scenes[start : start + IMAGES]
        truths = [decode(rle) > 0 for scene in some for rle in scene.masks[:SCORED_DIALOGUES]]
        batch = layout([s.example(list(range(len(s.masks)))[:SCORED_DIALOGUES], layout.method.side) for s in some])
        output = model(inputs=batch.inputs)
        right += int((output.text_logits.argmax(-1) == batch.targets.text_ids).sum())
        said += len(batch.targets.text_ids)
        for logits, truth in zip(model.method.pictures(output.read, output.masks), truths, strict=True):
            drawn = enlarge(logits, smooth)
            overlap, union = int((drawn & truth).sum()), int((drawn | truth).sum())
            overlaps, unions = overlaps + overlap, unions + union
            ious.append(overlap / max(union, 1))
    hits = [iou for iou in ious if iou >= 0.5]
    outline = sum(hits) / len(hits) if hits else float("nan")
    return Score(overlaps / unions, outline, len(hits) / len(ious), right / said)


def enlarge(logits: Tensor, smooth: bool) -> np.ndarray:
    """A logit picture as a mask, bool [224, 224]: cut at one half after smooth, or before nearest enlarging."""
    return to_mask(logits, SIDE, SIDE, "bilinear" if smooth else "published")


def labels_ceiling(scenes: list[Scene], side: int, smooth: bool) -> float:
    """cIoU of a model whose probabilities are its labels."""
    overlaps = unions = 0
    for scene in scenes:
        for coverage, mask in zip(scene.coverage[side], scene.masks, strict=True):
            drawn = enlarge(torch.logit(torch.from_numpy(coverage).float() / 254, eps=1e-6), smooth)
            truth = decode(mask) > 0
            overlaps, unions = overlaps + int((drawn & truth).sum()), unions + int((drawn | truth).sum())
    return overlaps / unions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--designs", default="; ".join(VARIANTS), help="rows of the table, with semicolons between")
    parser.add_argument("--trunk-steps", type=int, default=400)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--size", choices=tuple(SIZES), default="middle")
    parser.add_argument("--processes", type=int, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    names = [name.strip() for name in options.designs.split(";")]
    print(
        f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, torch {torch.__version__}, {vars(options)}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        make_scenes(folder)
        scenes = torch.load(folder / SCENES, weights_only=False)["held out"]
        for side, smooth in ((1, False), (1, True), (4, True)):
            kind = f"side {side}, {'soft and smooth' if smooth else 'hard and nearest'}"
            print(f"labels as masks, {kind}: cIoU {labels_ceiling(scenes, side, smooth):.3f}", flush=True)
        if options.trunk_steps and not (folder / trunk_name(options.size, options.trunk_steps)).exists():
            train_trunk(folder, options.size, options.trunk_steps)
        shared = (options.size, options.trunk_steps, options.steps)
        results: list[Result] = []
        with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
            jobs = [pool.submit(train, folder, name, *shared, seed) for seed in range(options.seeds) for name in names]
            for job in as_completed(jobs):
                results.append(job.result())
                print(results[-1], file=sys.stderr, flush=True)
    print(table(results, names, options.steps))


def table(results: list[Result], names: list[str], steps: int) -> str:
    columns = ("design", "head parameters", "cIoU", "of seeds", "found", "outline", "text accuracy", "ms per step")
    lines = [f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)]
    for name in names:
        runs = sorted((result for result in results if result.variant == name), key=lambda result: result.seed)
        mean = {key: np.mean([getattr(run.final, key) for run in runs]) for key in ("ciou", "found", "outline", "text")}
        seeds = ", ".join(f"{run.final.ciou:.3f}" for run in runs)
        speed = 1e3 * np.mean([run.seconds for run in runs]) / steps
        lines.append(
            f"| {name} | {runs[0].head_parameters:,} | {mean['ciou']:.3f} | {seeds} | {mean['found']:.2f} "
            f"| {mean['outline']:.3f} | {mean['text']:.3f} | {speed:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
