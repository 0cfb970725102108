"""Small models and random packs for the tests of the model."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from stamp_train.backbones.presets import build_preset
from stamp_train.backbones.processor import StampProcessor
from stamp_train.sequence.examples import DialogueExample, ImageExample, PackedBatch
from stamp_train.sequence.layout import Layout

from .stamping import stamp

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")
TINY = ("tiny", "qwen2.5-tiny", "qwen3-tiny")  # a preset of each family


def near(found: Any, expected: Any, what: str = "") -> None:
    """Equal to single precision: within 1e-5 of the largest value, since kernels of other processors round otherwise."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * float(np.abs(expected).max()), err_msg=what)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden_model_path() -> Path:
    return GOLDEN / "stamp_tiny"


@pytest.fixture(scope="session")
def golden_cases_path() -> Path:
    return GOLDEN / "cases"


@pytest.fixture(scope="session")
def golden_processor(golden_model_path: Path) -> StampProcessor:
    return StampProcessor.from_pretrained(golden_model_path)


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    """A tiny model with the fine head and grid positions; do not change its weights."""
    return tiny_of("tiny")


@cache
def tiny_of(preset: str) -> SimpleNamespace:
    """A tiny model of a family; do not change its weights."""
    model, processor = build_preset(preset)
    return SimpleNamespace(
        model=model, processor=processor, chat=processor.chat, patch=model.backbone.patch, preset=preset
    )


@pytest.fixture(scope="session", params=TINY)
def family(request: pytest.FixtureRequest) -> SimpleNamespace:
    """A tiny model of each family."""
    return tiny_of(request.param)


def _say(text: str, *, image: bool) -> list[dict[str, Any]]:
    return [{"type": "image"}] * image + [{"type": "text", "text": text}]


def make_dialogue(
    name: str, turns: Sequence[tuple[str, str]], grid: tuple[int, int] | None, seed: int = 0, side: int = 1
) -> DialogueExample:
    """A dialogue of (question, answer) turns, with random coverage (a tenth ignored) for each `<|seg|>`."""
    messages = []
    for number, (question, answer) in enumerate(turns):
        messages.append({"role": "user", "content": _say(question, image=grid is not None and number == 0)})
        messages.append({"role": "assistant", "content": _say(answer, image=False)})
    rng = np.random.default_rng(seed)
    coverage = []
    for _ in range(sum(answer.count("<|seg|>") for _, answer in turns) if grid else 0):
        picture = rng.integers(0, 255, (grid[0] * side, grid[1] * side)).astype(np.uint8)
        picture[rng.random(picture.shape) < 0.1] = 255
        coverage.append(picture)
    return DialogueExample(name, messages, coverage)


def make_image(
    grid: tuple[int, int] | None, dialogues: Sequence[DialogueExample], seed: int = 0, patch: int = 14
) -> ImageExample:
    """An image of random pixel values with the given merged grid, or text-only dialogues."""
    return ImageExample(dialogues, *noise(grid, seed, patch)) if grid else ImageExample(dialogues)


def noise(grid: tuple[int, int], seed: int = 0, patch: int = 14) -> tuple[torch.Tensor, tuple[int, int, int]]:
    """Random pixel values and their grid before the merge. patch: side in pixels."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(4 * grid[0] * grid[1], 3 * 2 * patch**2, generator=generator)
    return values, (1, 2 * grid[0], 2 * grid[1])


@pytest.fixture(scope="session")
def dialogue() -> Callable[..., DialogueExample]:
    return make_dialogue


@pytest.fixture(scope="session")
def image() -> Callable[..., ImageExample]:
    return make_image


TURNS: list[list[tuple[str, str]]] = [
    [("the cup", "Sure: <|seg|>")],
    [("two dogs", "One <|seg|> and <|seg|> there.")],
    [("what is it", "A boat.")],
    [("the left", "Here: <|seg|> it is."), ("and the right", "<|seg|>")],
    [("all", "<|seg|><|seg|>"), ("why", "So.")],
]


def random_images(
    shape: Sequence[tuple[tuple[int, int] | None, Sequence[int]]], side: int = 1, patch: int = 14
) -> list[ImageExample]:
    """Images from (grid or None, kinds of dialogues in TURNS); kinds with `<|seg|>` need a grid."""
    images = []
    for number, (grid, kinds) in enumerate(shape):
        dialogues = [
            make_dialogue(f"i{number}d{i}", TURNS[kind if grid else 2], grid, seed=10 * number + i, side=side)
            for i, kind in enumerate(kinds)
        ]
        images.append(make_image(grid, dialogues, number, patch))
    return images


@pytest.fixture(scope="session")
def images_of() -> Callable[..., list[ImageExample]]:
    return random_images


@pytest.fixture(scope="session")
def pack(tiny: SimpleNamespace) -> Callable[..., PackedBatch]:
    """Pack a shape (see `random_images`) for the tiny model."""

    def build(shape: Any, **options: Any) -> PackedBatch:
        about = {name: options.pop(name) for name in ("side", "mask_positions") if name in options}
        method = stamp(**about)
        return Layout(tiny.chat, method, **options)(random_images(shape, side=method.side))

    return build
