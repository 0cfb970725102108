"""Seconds per (image, expression): a short answer and its mask, ours against the published style, in one run.

    python bench/generate.py                  # tiny on the CPU, and 2b where there is a GPU
    python bench/generate.py 2b               # one preset

Random weights, the published head and mask positions, images of 1024 merged patches as pixel values; every answer begins
with "It is <|seg|>." and goes on for 16 tokens. The rival does as the published predictor does: transformers' `generate`
for one dialogue at a time, then for each `<|seg|>` the vision tower again, embeddings of the whole sequence again, and
one pass of the mask tokens over the cut-back cache. Runs alternate (ours, rival, ours, ...), and medians are printed.
"""

from __future__ import annotations

import copy
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import transformers
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration

from stamp_train.backbones.presets import build_preset
from stamp_train.backbones.processor import PixelBatch
from stamp_train.generation.decoding import Batch, encode
from stamp_train.generation.generate import StampGenerator
from stamp_train.generation.prompts import open_image, open_reply
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.methods.stamp.settings import StampSettings
from stamp_train.sequence.chat import ChatEncoder

T = TypeVar("T")
RUNS, TOKENS, SIDE = 5, 16, 32
BEGIN = "It is <|seg|>."
PROMPT = "Please segment the {} in the picture."
SHAPES = ((1, 1), (16, 1), (4, 4), (1, 16))  # images, expressions of each
# On a CPU that others use too, only the time that this process computes says anything; a GPU is waited for.
CLOCK = time.perf_counter if torch.cuda.is_available() else time.process_time
GOAL_SECONDS, GOAL_MASK = 0.35, 0.040


@dataclass(frozen=True)
class Timing:
    """Seconds of one run, for all its dialogues: image and text, then masks."""

    answer: float
    mask: float

    @property
    def total(self) -> float:
        return self.answer + self.mask


def main() -> None:
    if not run_presets(compare):
        print("\nNo GPU here: the 2b shapes and their goals (0.35 s, mask phase 40 ms at batch 1) are not measured.")


def run_presets(compare: Callable[[str, torch.device, torch.dtype], None]) -> bool:
    """Compare what the command line asks for, or what this machine can; returns whether it has a GPU."""
    gpu = torch.cuda.is_available()
    print(
        f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, torch {torch.__version__}, transformers "
        f"{transformers.__version__}, {os.cpu_count()} cores, {torch.cuda.get_device_name() if gpu else 'no GPU'}"
    )
    threads = torch.get_num_threads()
    for preset in sys.argv[1:] or (["tiny", "2b"] if gpu else ["tiny"]):
        torch.set_num_threads(1 if preset == "tiny" else threads)
        if preset == "tiny":
            compare(preset, torch.device("cpu"), torch.float32)
        elif gpu:
            compare(preset, torch.device("cuda"), torch.bfloat16)
        else:
            print(f"\n{preset}: no GPU here, not measured")
    return gpu


def compare(preset: str, device: torch.device, dtype: torch.dtype) -> None:
    model, processor = build_preset(preset, method=StampSettings.of_stored(None), dtype=dtype, device=device)
    generator = StampGenerator(model, processor)
    clock = "seconds" if CLOCK is time.perf_counter else "CPU seconds of one thread"
    print(f"\n{preset}, {device.type}, {str(dtype)[6:]}, {SIDE * SIDE} patches, {TOKENS} tokens decoded")
    print(f"  medians of {RUNS} runs, {clock}")
    stock = stock_model(model)
    check(generator, stock, dtype)
    for images, expressions in SHAPES:
        pictures = [picture(seed) for seed in range(images)]
        prompts = [[PROMPT.format(f"thing {i} {j}") for j in range(expressions)] for i in range(images)]
        ours, theirs = [], []
        for run in range(RUNS + 1):
            mine = in_stages(generator, pictures, prompts)
            # It takes one dialogue at a time, so one tells the cost of each.
            rival, _, _ = published(model, stock, processor.chat, pictures[0], prompts[0][0])
            if run:  # the first warms up
                ours.append(mine)
                theirs.append(rival)
        report(images, expressions, ours, theirs, device)


def report(images: int, expressions: int, ours: list[Timing], theirs: list[Timing], device: torch.device) -> None:
    count = images * expressions
    print(f"  {images} image(s) x {expressions} expression(s), per dialogue:")
    middle = {}
    for name, timings, each in (("ours", ours, count), ("published style", theirs, 1)):
        parts = {
            part: statistics.median(getattr(t, part) / each for t in timings) for part in ("total", "answer", "mask")
        }
        middle[name] = parts
        spread = f"{min(t.total for t in timings) / each:.4f}-{max(t.total for t in timings) / each:.4f}"
        print(
            f"    {name:16} {parts['total']:.4f} ({spread}): image and text {parts['answer']:.4f}, "
            f"mask phase {parts['mask']:.4f}"
        )
    mine, rival = middle["ours"], middle["published style"]
    print(f"    ratio {rival['total'] / mine['total']:.2f}x, mask phase {rival['mask'] / mine['mask']:.2f}x")
    if device.type == "cuda":
        print(f"    peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
        if count == 1:
            met = mine["total"] <= GOAL_SECONDS and mine["mask"] <= GOAL_MASK
            print(f"    goal {GOAL_SECONDS} s and mask phase {GOAL_MASK} s: {'met' if met else 'missed'}")


def picture(seed: int) -> PixelBatch:
    noise = torch.randn(4 * SIDE * SIDE, 1176, generator=torch.Generator().manual_seed(seed))
    return PixelBatch(noise, (1, 2 * SIDE, 2 * SIDE))


def timed(work: Callable[[], T]) -> tuple[float, T]:
    synchronise()
    start = CLOCK()
    result = work()
    synchronise()
    return CLOCK() - start, result


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def in_stages(generator: StampGenerator, pictures: list[PixelBatch], prompts: list[list[str]]) -> Timing:
    """What `StampGenerator.generate` does, its stages timed apart."""
    model, processor = generator.model, generator.processor
    options = generator.complete(GenerationOptions(begin=BEGIN, max_new_tokens=TOKENS, stop_ids=()))
    sources = [open_image(processor, image, f"image {i}") for i, image in enumerate(pictures)]
    replies = [
        open_reply(model, processor.chat, source, (i, j), prompt, options)
        for i, (source, some) in enumerate(zip(sources, prompts, strict=True))
        for j, prompt in enumerate(some)
    ]

    def decode() -> Batch:
        encode(model, [source for source in sources if source])
        batch = generator.batch(replies, options)
        for _ in batch.decode(options):
            pass
        return batch

    answer, batch = timed(decode)
    mask, _ = timed(lambda: batch.draw_all(options.mask_tokens))
    assert all(reply.masks for reply in replies)
    return Timing(answer, mask)


def stock_model(model: Any) -> Any:
    """Transformers' own class over the same weights: what the published predictor generates with."""
    with torch.device("meta"):
        stock = Qwen2VLForConditionalGeneration(copy.deepcopy(model.config))
    stock.load_state_dict(model.state_dict(), strict=False, assign=True)
    for name, buffer in model.model.named_buffers():  # not in the state: they are computed when a model is made
        stock.model.get_submodule(name.rpartition(".")[0]).register_buffer(name.rpartition(".")[2], buffer)
    stock.tie_weights()
    return stock.eval()


@torch.no_grad()
def published(
    model: Any, stock: Any, chat: ChatEncoder, image: PixelBatch, prompt: str
) -> tuple[Timing, list[int], list[Tensor]]:
    """One dialogue in the published style; its tokens and mask logits too."""
    device, patches = model.device, SIDE * SIDE
    content = [{"type": "image"}, {"type": "text", "text": prompt}]
    short = chat.encode([{"role": "user", "content": content}], generation_prompt=True).ids
    ids = [
        i for token in [*short, *chat.answer_ids(BEGIN)] for i in [token] * (patches if token == chat.image_id else 1)
    ]
    tokens = torch.tensor([ids], device=device)
    pixels, grid = image.pixel_values.to(device), torch.tensor([image.grid_thw], device=device)
    text, out = timed(
        lambda: stock.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            pixel_values=pixels,
            image_grid_thw=grid,
            mm_token_type_ids=(tokens == chat.image_id).int(),
            max_new_tokens=TOKENS,
            min_new_tokens=TOKENS,
            do_sample=False,
            return_dict_in_generate=True,
        )
    )
    sequence = out.sequences
    segs = (sequence[0] == chat.seg_id).nonzero()[:, 0].tolist()
    seconds, masks = timed(
        lambda: [published_mask(model, chat, pixels, grid, sequence, at, out.past_key_values) for at in segs]
    )
    return Timing(text, seconds), sequence[0, len(ids) :].tolist(), masks


def published_mask(
    model: Any, chat: ChatEncoder, pixels: Tensor, grid: Tensor, sequence: Tensor, at: int, cache: Any
) -> Tensor:
    """The mask of the `<|seg|>` at `at`: vision tower and embeddings of everything once more."""
    cut = copy.deepcopy(cache)
    cut.crop(at + 1 - cut.get_seq_length())
    features = model.model.visual(pixels.to(model.dtype), grid_thw=grid).pooler_output
    holders = torch.full((1, len(features)), chat.control["<|mask|>"], device=sequence.device)
    whole = torch.cat([sequence[:, : at + 1], holders], dim=1)
    embeds = model.model.language_model.embed_tokens(whole)
    embeds[whole == chat.image_id] = features
    embeds[whole == chat.control["<|mask|>"]] += features
    positions, _ = model.model.get_rope_index(whole, (whole == chat.image_id).int(), grid)
    allowed = torch.ones(1, 1, len(features), whole.shape[1], dtype=torch.bool, device=whole.device)
    states = model.model.language_model(
        inputs_embeds=embeds[:, at + 1 :],
        position_ids=positions[:, :, at + 1 :],
        attention_mask={"full_attention": allowed},
        past_key_values=cut,
        use_cache=True,
    ).last_hidden_state[0]
    logits: Tensor = model.classifier(states)[:, 0].float().cpu()
    return logits


def check(generator: StampGenerator, stock: Any, dtype: torch.dtype) -> None:
    """Both must say and draw the same, or there is nothing to compare; in half precision the difference is told."""
    prompt = PROMPT.format("thing 0 0")
    options = GenerationOptions(begin=BEGIN, max_new_tokens=TOKENS, stop_ids=())
    answer = generator.ask(picture(0), prompt, options)
    _, tokens, masks = published(generator.model, stock, generator.chat, picture(0), prompt)
    assert masks
    same = sum(a == b for a, b in zip(answer.ids[-TOKENS:], tokens, strict=True))
    apart = max(float((a.flatten() - b).abs().max()) for a, b in zip(answer.masks, masks, strict=True))
    print(f"  both say the same: {same} of {len(tokens)} tokens; mask logits differ by at most {apart:.1e}")
    if dtype == torch.float32 and (same < len(tokens) or apart > 1e-4):
        raise SystemExit("ours and the rival differ: nothing to compare")


if __name__ == "__main__":
    main()
