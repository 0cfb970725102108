"""What holds for every method: packing, caches and files change nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stamp_train.backbones.load import load_checkpoint
from stamp_train.backbones.processor import PixelBatch, StampProcessor
from stamp_train.generation.generate import StampGenerator
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.methods.losses import total
from stamp_train.sequence.inputs import Outputs
from stamp_train.sequence.layout import Layout, PackedBatch

from .making import ONE, SETTINGS, TURNS, TWO, example, record, tiny

# Their masks come out of a forward pass, and not of what is written or said on the way.
READ = [name for name in SETTINGS if not name.startswith(("text4seg", "argenseg"))]
SHAPE = [((2, 3), [ONE, TWO, TURNS]), ((4, 2), [TWO, ONE])]


def examples(name: str) -> list:
    method = tiny(name).method
    return [example(method, record(answers, seed), grid, seed) for seed, (grid, answers) in enumerate(SHAPE)]


def run(name: str, pack: PackedBatch) -> Outputs:
    return tiny(name).model(inputs=pack.inputs)


def layout(name: str) -> Layout:
    return Layout(tiny(name).chat, tiny(name).method)


@pytest.mark.parametrize("name", SETTINGS)
def test_dialogues_packed_are_what_they_are_alone(name: str) -> None:
    one = tiny(name)
    images = examples(name)
    together = layout(name)(images)
    alone = [layout(name)([replace(image, dialogues=[dialogue])]) for image in images for dialogue in image.dialogues]
    found = one.method.losses(run(name, together), together.targets)
    parts = [one.method.losses(run(name, pack), pack.targets) for pack in alone]
    assert found.keys() == parts[0].keys() == one.method.counts(together.targets).keys()
    for loss, (value, count) in found.items():
        torch.testing.assert_close(value, torch.stack([part[loss][0] for part in parts]).sum(), atol=1e-4, rtol=1e-5)
        assert count == pytest.approx(sum(part[loss][1] for part in parts))
        assert count == pytest.approx(one.method.counts(together.targets)[loss])
    weights = [weight for weight in one.model.parameters() if weight.requires_grad]
    counts = one.method.counts(together.targets)
    whole = torch.autograd.grad(total(found, counts), weights, allow_unused=True)
    split = torch.autograd.grad(torch.stack([total(part, counts) for part in parts]).sum(), weights, allow_unused=True)
    for left, right in zip(whole, split, strict=True):
        assert (left is None) == (right is None)
        if left is not None and right is not None:
            torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("name", READ)
def test_masks_over_the_cache_are_those_of_one_pass(name: str) -> None:
    one = tiny(name)
    images = examples(name)
    pack = layout(name)(images)
    with torch.no_grad():
        output = run(name, pack)
    wanted = iter(one.method.pictures(output.read, output.masks))
    generator = StampGenerator(one.model, one.processor)
    prompts = [[[*dialogue.messages] for dialogue in image.dialogues] for image in images]
    pixels = [PixelBatch(image.pixel_values, image.grid_thw) for image in images]
    drawn = generator.generate(pixels, prompts, GenerationOptions(max_new_tokens=0))
    for image, answers in zip(images, drawn, strict=True):
        for dialogue, answer in zip(image.dialogues, answers, strict=True):
            own = [next(wanted) for _ in dialogue.labels]
            last = "".join(part.get("text", "") for part in dialogue.messages[-1]["content"])
            assert len(answer.masks) == last.count("<|seg|>")
            for found, picture in zip(answer.masks, own[-len(answer.masks) :], strict=True):
                assert float(picture.std()) > 0.003
                torch.testing.assert_close(found, picture, atol=1e-4, rtol=1e-4)
    assert next(wanted, None) is None


@pytest.mark.parametrize("name", SETTINGS)
def test_a_checkpoint_draws_what_its_model_drew(name: str, tmp_path: Path) -> None:
    one = tiny(name)
    one.model.save_pretrained(tmp_path)
    one.processor.save_pretrained(tmp_path)
    again = load_checkpoint(tmp_path).eval()
    assert again.method.settings == one.method.settings
    StampProcessor.from_pretrained(tmp_path)
    pack = layout(name)(examples(name))
    with torch.no_grad():
        left, right = (model(inputs=pack.inputs) for model in (one.model, again))
    assert torch.equal(left.text_logits, right.text_logits)
    for picture, other in zip(
        one.method.pictures(left.read, left.masks), again.method.pictures(right.read, right.masks), strict=True
    ):
        assert torch.equal(picture, other)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_model_that_has_learned_its_labels_draws_the_mask(name: str) -> None:
    method = tiny(name).method
    one = record([ONE])
    label = method.label(one, 0, (3, 4), None)
    picture = method.ideal(label)
    share = float((picture > 0).float().mean())
    assert picture.ndim == 2 and share == pytest.approx(0.25, abs=0.12)
