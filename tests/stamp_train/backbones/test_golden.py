"""The published model, number by number."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stamp_train.backbones.load import load_checkpoint
from stamp_train.backbones.modeling import StampModel
from stamp_train.backbones.processor import StampProcessor
from stamp_train.methods.losses import total
from stamp_train.methods.stamp.losses import mask_losses
from stamp_train.sequence.examples import DialogueExample, ImageExample, PackedBatch
from stamp_train.sequence.layout import Layout

from ..conftest import near
from ..stamping import stamp

CASES = ("single_nonsquare", "two_segs", "padded_batch", "downscaled_image", "mixed_batch")


@pytest.fixture(scope="module")
def model(golden_model_path: Path) -> StampModel:
    return load_checkpoint(golden_model_path).eval()


class Case:
    """A golden case and the same thing laid out by us."""

    def __init__(self, folder: Path, name: str, processor: StampProcessor) -> None:
        self.facts: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        with np.load(folder / f"{name}.npz") as stored:
            self.data = dict(stored)
        self.processor = processor
        self.method = stamp(1, "published", mask_positions="sequential")
        self.images = self._images(name)
        self.batch: PackedBatch = Layout(processor.chat, self.method, text_labels=self.method.text_labels)(self.images)

    def _images(self, name: str) -> list[ImageExample]:
        pixels, masks, images = torch.from_numpy(self.data["pixel_values"]), 0, []
        for number, (text, thw) in enumerate(zip(self.facts["texts"], self.data["image_grid_thw"], strict=True)):
            grid = (int(thw[1]) // 2, int(thw[2]) // 2)
            count = text["answer"].count("<|seg|>")
            labels = [self.data[f"gt_labels_{masks + i}"].reshape(grid) for i in range(count)]
            masks += count
            question = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text["question"]}]}
            answer = {"role": "assistant", "content": [{"type": "text", "text": text["answer"]}]}
            coverage = [(254 * label).astype(np.uint8) for label in labels]
            dialogue = DialogueExample(f"{name}/{number}", [question, answer], coverage)
            rows = 4 * grid[0] * grid[1]
            images.append(ImageExample([dialogue], pixels[:rows], tuple(thw.tolist())))
            pixels = pixels[rows:]
        return images

    def text_rows(self, sample: int) -> torch.Tensor:
        """Rows of the packed sequence that hold the sample's text and image tokens."""
        structure = self.batch.inputs.structure
        return ((structure.document == sample + 1) & (structure.block == 0)).nonzero()[:, 0]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, golden_cases_path: Path, golden_processor: StampProcessor) -> Case:
    return Case(golden_cases_path, request.param, golden_processor)


def test_tokens_and_text_positions_are_the_published_ones(case: Case) -> None:
    inputs = case.batch.inputs
    for sample in range(len(case.facts["texts"])):
        rows, real = case.text_rows(sample), case.data["attention_mask"][sample].astype(bool)
        np.testing.assert_array_equal(inputs.input_ids[0, rows], case.data["input_ids"][sample][real])
        np.testing.assert_array_equal(inputs.position_ids[:, 0, rows], case.data["lm_position_ids"][:, sample, real])


@pytest.mark.parametrize(("scheme", "key"), [("sequential", "seg_position_ids"), ("grid", "unused_grid_position_ids")])
def test_mask_positions(case: Case, scheme: str, key: str) -> None:
    if scheme == "grid" and len(case.facts["texts"]) > 1:
        pytest.skip("the published function takes the wrong grid in a batch of different ones")
    inputs = Layout(case.processor.chat, stamp(1, mask_positions=scheme))(case.images).inputs
    expected = np.concatenate(
        [case.data[key][:, row, mask] for row, mask in enumerate(case.data["seg_token_mask"])], axis=1
    )
    np.testing.assert_array_equal(inputs.position_ids[:, 0, inputs.mask_rows], expected)


def test_attention_rule_is_the_published_hybrid_mask(case: Case) -> None:
    from stamp_train.sequence.structure import visible

    inputs = case.batch.inputs
    seen = visible(inputs.structure, inputs.structure)
    row_of = dict(enumerate(case.facts["texts"]))
    block = 0
    for sample in row_of:
        for _ in range(row_of[sample]["answer"].count("<|seg|>")):
            real = case.data["seg_attention_mask"][block].astype(bool)
            mask = inputs.mask_rows[case.batch.targets.mask_of == block]
            length = int(real.sum()) - len(mask)
            rows = torch.cat([case.text_rows(sample)[:length], mask])
            np.testing.assert_array_equal(seen[rows][:, rows], case.data["seg_hybrid_mask"][block, 0][real][:, real])
            others = torch.ones(len(inputs.structure), dtype=torch.bool)
            others[rows] = False
            assert not seen[mask][:, others].any()
            block += 1


@pytest.mark.parametrize("backend", ["sdpa", "segments", "flex"])
def test_logits(case: Case, model: StampModel, backend: str) -> None:
    with torch.no_grad():
        out = model(inputs=case.batch.inputs, attention=backend)
    near(out.read["mask"][:, 0], case.data["bi_logits_at_masks"])
    at = 0
    for sample, mask in enumerate(case.data["attention_mask"]):
        count = int(mask.sum()) - 1
        rows = torch.isin(case.batch.inputs.text_rows, case.text_rows(sample))
        found = out.text_logits[rows]
        order = case.batch.inputs.text_rows[rows].argsort()
        near(found[order], case.data["lm_logits"][sample, :count])
        at += count
    assert at == len(out.text_logits)


def test_inputs_of_the_language_model(case: Case, model: StampModel) -> None:
    inputs = case.batch.inputs
    with torch.no_grad():
        features = model.image_features(inputs)
        embeds = model.embed(inputs, features)[0]
    near(features.merged, case.data["image_features"])
    expected = np.concatenate(
        [case.data["seg_inputs_embeds"][row][mask] for row, mask in enumerate(case.data["seg_token_mask"])]
    )
    near(embeds[inputs.mask_rows], expected)


@pytest.mark.parametrize("backend", ["sdpa", "segments"])
def test_published_loss_and_gradients(case: Case, model: StampModel, backend: str) -> None:
    model.zero_grad()
    out = model(inputs=case.batch.inputs, attention=backend)
    sums = case.method.losses(out, case.batch.targets)
    masks = mask_losses(out.read["mask"], case.batch.targets, case.method.loss)
    expected = [float(case.data[f"loss_seg_{i}"]) for i in range(case.batch.targets.masks)]
    near(masks.detach(), expected)
    assert sums["text"][0].item() / sums["text"][1] == pytest.approx(float(case.data["loss_lm"]), rel=1e-5)
    loss = total(sums)
    assert loss.item() == pytest.approx(float(case.data["loss_total"]), rel=1e-5)
    loss.backward()
    parameters = dict(model.named_parameters())
    for name, norm in case.facts["grad_norms"].items():
        assert float(parameters[name].grad.norm()) == pytest.approx(norm, rel=1e-5, abs=1e-6), name
    embeddings = parameters["model.language_model.embed_tokens.weight"].grad
    chat = case.processor.chat
    for key, found in {
        "grad_classifier_weight": parameters["classifier.weight"].grad,
        "grad_classifier_bias": parameters["classifier.bias"].grad,
        "grad_embed_mask_row": embeddings[chat.control["<|mask|>"]],
        "grad_embed_seg_row": embeddings[chat.seg_id],
    }.items():
        near(found, case.data[key], key)


def test_pil_pixels_agree_with_the_published_backend_to_its_rounding(case: Case) -> None:
    from PIL import Image

    found = case.processor.images([Image.fromarray(case.data[f"image_{i}"]) for i in range(len(case.facts["texts"]))])
    np.testing.assert_array_equal([image.grid_thw for image in found], case.data["image_grid_thw"])
    pixels = torch.cat([image.pixel_values for image in found])
    assert float((pixels - torch.from_numpy(case.data["pixel_values"])).abs().max()) < 0.031
