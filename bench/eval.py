"""Expressions per second of an evaluation: ours, eight expressions of a picture together, against one by one.

    python bench/eval.py                  # tiny on the CPU, and 2b where there is a GPU
    python bench/eval.py 2b               # one preset

Random weights, the published head, mask positions and upsampling, pictures of 896 x 896 pixels (1024 merged patches); every
answer begins with "It is <|seg|>." and goes on for 16 tokens. Both sides begin with the decoded picture and end with the
pixels of intersection and union, and have to agree on them. The rival (bench/generate.py) does as the published evaluation:
for each expression the picture is processed and the vision tower run, transformers' `generate` answers, and the mask is
drawn with the vision tower again. Runs alternate (ours, rival, ours, ...), and medians are printed.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

import numpy as np
import torch
from generate import BEGIN, CLOCK, SIDE, TOKENS, published, run_presets, stock_model, timed
from numpy.typing import NDArray
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from stamp_schemas.manifest import PATCH
from stamp_train.backbones.presets import build_preset
from stamp_train.backbones.processor import StampProcessor
from stamp_train.eval.cases import Case, ImageCases, Truth
from stamp_train.eval.runners import ModelRunner
from stamp_train.eval.scoring import FREE, Scorer
from stamp_train.generation.generate import StampGenerator
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.methods.stamp.settings import StampSettings
from stamp_train.methods.upsample import PUBLISHED, to_mask

RUNS, PICTURES, EXPRESSIONS = 5, 2, 8
PIXELS = SIDE * PATCH
GOAL = 4.0
Counts = list[tuple[int, int]]  # intersection and union of every expression


def compare(preset: str, device: torch.device, dtype: torch.dtype) -> None:
    model, made = build_preset(preset, method=StampSettings.of_stored(None), dtype=dtype, device=device)
    images = Qwen2VLImageProcessorPil(min_pixels=PIXELS * PIXELS, max_pixels=PIXELS * PIXELS)
    generator = StampGenerator(model, StampProcessor(made.tokenizer, images))
    stock = stock_model(model)
    exam = [pictured(number) for number in range(PICTURES)]
    ours, theirs = [], []
    for run in range(RUNS + 1):
        mine, found = timed(lambda: evaluated(generator, exam))
        rival, expected = timed(lambda: one_by_one(generator, stock, exam))
        if run:  # the first warms up, and shows that both do the same
            ours.append(mine)
            theirs.append(rival)
        else:
            agree(found, expected, dtype)
    report(preset, device, dtype, ours, theirs)


def report(preset: str, device: torch.device, dtype: torch.dtype, ours: list[float], theirs: list[float]) -> None:
    count = PICTURES * EXPRESSIONS
    clock = "seconds" if CLOCK is time.perf_counter else "CPU seconds of one thread"
    print(f"\n{preset}, {device.type}, {str(dtype)[6:]}, {PICTURES} pictures x {EXPRESSIONS} expressions")
    print(f"  medians of {RUNS} runs, {clock}; load of the machine {os.getloadavg()[0]:.1f}")
    for name, seconds in (("ours", ours), ("published style", theirs)):
        print(
            f"    {name:16} {count / statistics.median(seconds):.2f} expressions/s "
            f"({count / max(seconds):.2f}-{count / min(seconds):.2f})"
        )
    ratios = [rival / mine for mine, rival in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    print(
        f"    ratio {ratio:.2f}x (of runs side by side: {min(ratios):.2f}-{max(ratios):.2f}x), goal {GOAL:.0f}x: ",
        end="",
    )
    print("met" if ratio >= GOAL else "missed")


def pictured(seed: int) -> ImageCases:
    """A picture of noise, and expressions with rectangles for true masks."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(0, 256, (PIXELS, PIXELS, 3), np.uint8))
    cases = []
    for number in range(EXPRESSIONS):
        top, left = rng.integers(0, PIXELS // 2, 2).tolist()
        mask = np.zeros((PIXELS, PIXELS), bool)
        mask[top : top + PIXELS // 2, left : left + PIXELS // 2] = True
        text = f"Please segment only the thing {seed} {number} in the image."
        content = [{"type": "image"}, {"type": "text", "text": text}]
        messages = [{"role": "user", "content": content}]
        cases.append(Case(f"{seed}/{number}", text, messages, BEGIN, [Truth(mask, None)]))
    return ImageCases(str(seed), image, cases, [])


def evaluated(generator: StampGenerator, exam: list[ImageCases]) -> Counts:
    """As `stamp-train eval` does it."""
    options = generator.complete(GenerationOptions(begin=BEGIN, max_new_tokens=TOKENS, stop_ids=()))
    answers = ModelRunner(generator, options).answer(exam, FREE)
    scorer = Scorer(PUBLISHED)
    lines = [line for one, said in zip(exam, answers, strict=True) for line in scorer.lines("bench", one, FREE, said)]
    return [(line.score.intersection, line.score.union) for line in lines if line.score]


def one_by_one(generator: StampGenerator, stock: Any, exam: list[ImageCases]) -> Counts:
    """As the published evaluation does it."""
    found = []
    for one in exam:
        for case in one.cases:
            (pixels,) = generator.processor.images([one.image])
            prompt = case.messages[0]["content"][1]["text"]
            _, _, masks = published(generator.model, stock, generator.chat, pixels, prompt)
            found.append(counts(to_mask(masks[0].reshape(SIDE, SIDE), PIXELS, PIXELS, PUBLISHED), case.truths[0].mask))
    return found


def counts(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> tuple[int, int]:
    return int((predicted & truth).sum()), int((predicted | truth).sum())


def agree(found: Counts, expected: Counts, dtype: torch.dtype) -> None:
    """Both have to find the same; in half precision, where patches at the threshold may turn, the difference is told."""
    same = sum(one == other for one, other in zip(found, expected, strict=True))
    print(f"\nboth count the same pixels: {same} of {len(expected)} expressions")
    if dtype == torch.float32 and same < len(expected):
        raise SystemExit("ours and the rival differ: nothing to compare")


if __name__ == "__main__":
    run_presets(compare)
