"""What one training step costs: all dialogues of an image in one pass, against two passes per dialogue.

    python bench/train_step.py                # all three parts; without a GPU the last one says so and ends
    python bench/train_step.py counts         # tokens and vision passes, counted from the layout; some seconds
    python bench/train_step.py cpu            # the `tiny` preset, one thread, float32; some two minutes
    python bench/train_step.py gpu            # the `2b` shapes, random weights, bfloat16, full fine-tuning
    python bench/train_step.py --out FILE     # the tables also go to FILE

The rival is what the published trainer does, in its cheapest form: rows of a batch are dialogues; one pass for their text
(causal, no mask, so SDPA's fastest kernel), one for their masks (dense hybrid mask), each with its own vision pass, one
backward pass over the sum. Left out are its picture per step, its emptying of the CUDA cache, and its logits of tokens
that our loss does not supervise. Both styles compute the same loss, which is checked before anything is timed.

Steps of all styles alternate, and medians are printed. A step is forward, backward and AdamW; batches are made
beforehand. Model-flops use counts what a style itself has to compute (of attention only visible pairs, nothing of what
checkpointing computes again), against the device's dense peak, or where no table has it against the fastest
2048 x 2048 matrix product of this run.
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from two_pass import OnePass, TwoPass, Work, one_pass_work, two_pass_work

from stamp_data.instructions import wording
from stamp_train.backbones.presets import build_preset, byte_tokenizer
from stamp_train.methods.stamp.settings import StampSettings
from stamp_train.sequence.chat import ChatEncoder
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.examples import DialogueExample, ImageExample
from stamp_train.sequence.layout import Layout

GRID = (32, 32)  # merged patches: a picture of 896 x 896 pixels
BACKENDS = ("sdpa", "segments", "flex", "flash")
DIALOGUES = (1, 2, 4, 7)
ROUNDS = {"cpu": 5, "cuda": 7}
LOSS_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
GPU_DIALOGUES = 8  # in a step on a GPU: images are added until there are about as many
EXPRESSIONS = (
    "the lady with the blue shirt", "left zebra", "man in the back holding an umbrella", "the slice closest to us",
    "second chair from the right", "boy catching the ball", "white truck behind the fence",
)  # fmt: skip
# Dense bfloat16 operations per second, from the makers' data sheets; the first whose words are all in a device's name.
PEAKS = {"B200": 2250e12, "H200": 989e12, "H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "A100": 312e12}
COUNT_COLUMNS = ("dialogues of the image", "text tokens of one", "tokens, two-pass", "one-pass", "ratio",
                 "vision passes, two-pass", "one-pass")  # fmt: skip
STEP_COLUMNS = ("dialogues per image", "images", "checkpointing", "style", "ms per step", "dialogues/s",
                "against two-pass", "peak memory, GiB", "model-flops use")  # fmt: skip
Say = Callable[[str], None]


# --- what is trained on ----------------------------------------------------------------------------------------------


def word_tokenizer() -> Any:
    """About a token per word, as a large tokenizer has it for such texts; trained on them, since none is at hand."""
    texts = [*wording("paper").phrase.questions, *wording("paper").phrase.answers, *EXPRESSIONS]
    roles = ["system\n", "user\n", "assistant\n", "You are a helpful assistant."]
    return byte_tokenizer().train_new_from_iterator(2 * [*texts, *roles], vocab_size=1000, show_progress=False)


def make_images(images: int, dialogues: int, side: int) -> list[ImageExample]:
    """Random pictures, each with short questions and answers in the paper's wording and one random mask per answer."""
    phrase, rng = wording("paper").phrase, np.random.default_rng(0)
    made = []
    for number in range(images):
        examples = []
        for i, expression in enumerate(EXPRESSIONS[:dialogues]):
            question = phrase.questions[i % len(phrase.questions)].replace("[class_name]", expression)
            answer = phrase.answers[i % len(phrase.answers)].replace("[class_name]", expression)
            content = [{"type": "image"}, {"type": "text", "text": question}]
            messages = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
            coverage = rng.integers(0, 255, (side * GRID[0], side * GRID[1])).astype(np.uint8)
            examples.append(DialogueExample(f"{number}.{i}", messages, [coverage]))
        pixels = torch.from_numpy(rng.standard_normal((4 * GRID[0] * GRID[1], 1176), dtype=np.float32))
        made.append(ImageExample(examples, pixels, (1, 2 * GRID[0], 2 * GRID[1])))
    return made


# --- measuring -------------------------------------------------------------------------------------------------------


def step_flops(model: Any, work: Work) -> float:
    """Multiplications and additions of forward and backward pass (twice the forward): 2 per weight and token, and 4
    per attention pair and channel (scores and their sum); norms, activations and the small mask head are left out."""

    def weights(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters() if p.dim() > 1)

    text, vision = model.config.text_config, model.config.vision_config
    patches = 4 * GRID[0] * GRID[1]
    tower = model.model.visual
    per_image = 2 * patches * (weights(tower.patch_embed) + weights(tower.blocks) + weights(tower.merger) / 4)
    per_image += 4 * patches**2 * vision.embed_dim * vision.depth
    language = 2 * work.tokens * weights(model.model.language_model.layers)
    language += 4 * work.pairs * text.hidden_size * text.num_hidden_layers
    return 3 * (language + work.images * per_image + 2 * work.text_rows * weights(model.lm_head))


def device_peak(device: torch.device) -> tuple[float, str]:
    """Operations per second, and where the number is from."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for part, peak in PEAKS.items():
            if all(word in name for word in part.split()):
                return peak, f"{part} data sheet, {peak / 1e12:.0f} Tflop/s dense bfloat16"
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    a = torch.randn(2048, 2048, device=device, dtype=dtype)
    fastest = min(timed(lambda: a @ a, device) for _ in range(10))
    return 2 * 2048**3 / fastest, f"measured matrix product, {2 * 2048**3 / fastest / 1e9:.0f} Gflop/s"


def timed(run: Callable[[], Any], device: torch.device) -> float:
    """Seconds; on a CPU those of this process alone, since other work on the machine would count otherwise."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        torch.cuda.synchronize()
        return time.perf_counter() - start
    start = time.process_time()
    run()
    return time.process_time() - start


def peak_memory(run: Callable[[], Any], device: torch.device) -> int:
    """Most bytes at a time: on a GPU everything, on a CPU what comes on top of weights, gradients and optimizer."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated()
    ctypes.CDLL(None).malloc_trim(0)  # or freed memory of the step before would count as already there
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # resets the high-water mark
    before = resident("VmRSS")
    run()
    return resident("VmHWM") - before


def resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


# --- the parts -------------------------------------------------------------------------------------------------------


def header(columns: tuple[str, ...]) -> str:
    return "\n".join([f"| {' | '.join(columns)} |", "|" + " --- |" * len(columns)])


def counts(say: Say) -> None:
    layout = Layout(ChatEncoder(word_tokenizer()), StampSettings(head="patch").method())
    say(f"Tokens of the language model and vision passes per dialogue; image of {GRID[0] * GRID[1]} merged patches\n")
    say(header(COUNT_COLUMNS))
    for k in DIALOGUES:
        [image] = make_images(1, k, side=1)
        singles = [layout([replace(image, dialogues=[dialogue])]) for dialogue in image.dialogues]
        one, two = one_pass_work(layout([image])), two_pass_work(singles)
        text = np.mean([len(single.inputs.structure) for single in singles]) - 2 * GRID[0] * GRID[1]
        say(
            f"| {k} | {text:.0f} | {two.tokens / k:.0f} | {one.tokens / k:.0f} | {one.tokens / two.tokens:.3f} "
            f"| {two.images / k:g} | {one.images / k:.2g} |"
        )


class Comparison:
    """A model that is trained in all styles, on one device."""

    def __init__(self, device: torch.device, rounds: int) -> None:
        self.device, self.rounds, self.on_gpu = device, rounds, device.type == "cuda"
        self.preset, dtype = ("2b", torch.bfloat16) if self.on_gpu else ("tiny", torch.float32)
        self.model, processor = build_preset(self.preset, word_tokenizer(), dtype=dtype, device=device)
        self.model.train()
        self.layout = Layout(processor.chat, self.model.method, self.model.config.text_config.max_position_embeddings)
        # All the work of a step, but the weights stay, so that the losses of the styles can be compared.
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.0, fused=self.on_gpu)
        for parameter in self.model.parameters():  # its state is made in the first step: not in a timed one
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.absent: dict[str, str] = {}

    def table(self, say: Say) -> None:
        peak, source = device_peak(self.device)
        name = torch.cuda.get_device_name() if self.on_gpu else f"CPU, threads: {torch.get_num_threads()}"
        size = sum(p.numel() for p in self.model.parameters()) / 1e6
        precision = str(self.model.dtype).removeprefix("torch.")
        say(f"One training step; {self.preset}: {size:,.2f} M parameters, {precision}; {name}; peak: {source};")
        say(f"medians of {self.rounds} rounds\n")
        say(header(STEP_COLUMNS))
        for checkpointing in (False, True) if self.on_gpu else (False,):
            if checkpointing:
                self.model.gradient_checkpointing_enable()
            for k in DIALOGUES:
                self.rows(say, k, "yes" if checkpointing else "no", peak)
        for style, reason in self.absent.items():
            say(f"\nNot run: {style}: {reason}")

    def rows(self, say: Say, k: int, checkpointing: str, peak: float) -> None:
        """The rows of all styles for `k` dialogues per image."""
        images = max(1, GPU_DIALOGUES // k) if self.on_gpu else 1
        examples = make_images(images, k, self.layout.method.side)
        batch = self.layout(examples).to(self.device)
        styles: dict[str, OnePass | TwoPass] = {"two-pass": TwoPass(self.model, self.layout, examples, self.device)}
        styles |= {f"one pass, {backend}": OnePass(self.model, batch, backend) for backend in BACKENDS}
        memory = self.first_steps(styles, f"k = {k}, checkpointing: {checkpointing}")
        seconds: dict[str, list[float]] = {name: [] for name in memory}
        for _ in range(self.rounds):
            for name in memory:
                seconds[name].append(timed(lambda name=name: self.step(styles[name]), self.device))
        rival = statistics.median(seconds.get("two-pass", [float("nan")]))
        for name, measured in seconds.items():
            median = statistics.median(measured)
            say(
                f"| {k} | {images} | {checkpointing} | {name} | {1e3 * median:.0f} | {k * images / median:.3g} "
                f"| {rival / median:.2f}x | {memory[name] / 2**30:.2f} "
                f"| {step_flops(self.model, styles[name].work) / median / peak:.0%} |"
            )

    def first_steps(self, styles: dict[str, OnePass | TwoPass], where: str) -> dict[str, int]:
        """Peak memory of each style that runs here. Whatever is compiled is compiled now; the losses have to agree."""
        memory: dict[str, int] = {}
        losses: dict[str, float] = {}
        for name, style in styles.items():
            try:
                memory[name] = peak_memory(lambda n=name, s=style: losses.update({n: self.step(s)}), self.device)
            except StampModelError as error:
                self.absent[name] = str(error)
            except torch.OutOfMemoryError as error:
                self.absent[f"{name} ({where})"] = str(error).split(". ")[0]
                self.optimizer.zero_grad()
        tolerance = LOSS_TOLERANCE[self.model.dtype] * max(losses.values(), default=0.0)
        if losses and max(losses.values()) - min(losses.values()) > tolerance:
            sys.exit(f"the styles do not compute the same loss: {losses}")
        return memory

    def step(self, style: OnePass | TwoPass) -> float:
        loss = style.loss()
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[], help="counts, cpu, gpu; all by default")
    parser.add_argument("--rounds", type=int, help="steps of each style that are timed")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU part")
    parser.add_argument("--out", type=Path, help="write the tables to this file too")
    options = parser.parse_args()
    parts = options.parts or ["counts", "cpu", "gpu"]
    torch.set_num_threads(options.threads)
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    say(
        f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}"
    )
    if "counts" in parts:
        say("")
        counts(say)
    if "cpu" in parts:
        say("")
        Comparison(torch.device("cpu"), options.rounds or ROUNDS["cpu"]).table(say)
    if "gpu" in parts:
        say("")
        if torch.cuda.is_available():
            Comparison(torch.device("cuda"), options.rounds or ROUNDS["cuda"]).table(say)
        else:
            say("No GPU on this machine: the 2b part was not run.")
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
