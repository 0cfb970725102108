"""The pieces of an embedding's mask, against what the published code computes on a tiny LISA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from stamp_schemas.record import FULL
from stamp_train.methods.embedding.sam import SamHead
from stamp_train.methods.embedding.settings import EmbeddingSettings
from stamp_train.methods.mask_losses import mask_losses
from stamp_train.sequence.inputs import Targets

GOLDEN = Path(__file__).parents[3] / "data/golden/lisa"
FACTS = json.loads((GOLDEN / "lisa.json").read_text(encoding="utf-8"))
NUMBERS = np.load(GOLDEN / "lisa.npz")
# Published names of the decoder's parts, and transformers' names.
RENAMED = (
    ("model.text_hidden_fcs.0.", "state."),
    ("model.visual_model.mask_decoder.", "decoder."),
    ("model.visual_model.prompt_encoder.no_mask_embed.", "no_mask."),
    ("model.visual_model.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", "places.positional_embedding"),
    ("norm_final_attn", "layer_norm_final_attn"),
    (".norm", ".layer_norm"),
    ("output_upscaling.0", "upscale_conv1"),
    ("output_upscaling.1", "upscale_layer_norm"),
    ("output_upscaling.3", "upscale_conv2"),
    ("iou_prediction_head.layers.0", "iou_prediction_head.proj_in"),
    ("iou_prediction_head.layers.1", "iou_prediction_head.layers.0"),
    ("iou_prediction_head.layers.2", "iou_prediction_head.proj_out"),
)


def theirs(name: str) -> Tensor:
    return torch.from_numpy(NUMBERS[name])


def renamed(name: str) -> str:
    for old, new in RENAMED:
        name = name.replace(old, new)
    if "output_hypernetworks_mlps" in name:
        for old, new in (("layers.0", "proj_in"), ("layers.1", "layers.0"), ("layers.2", "proj_out")):
            if old in name:
                return name.replace(old, new)
    return name


@pytest.fixture(scope="module")
def head() -> SamHead:
    sizes: dict[str, Any] = {"hidden_size": 16, "image_size": 128, "patch_size": 16}
    vision = {
        "output_channels": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_pos_feats": 8,
        "mlp_dim": 16,
    }
    decoder = {
        "hidden_size": 16,
        "mlp_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
        "iou_head_depth": 3,
        "layer_norm_eps": 1e-5,
    }
    shape = {
        "vision_config": {**sizes, **vision, "global_attn_indexes": [0]},
        "prompt_encoder_config": {**sizes, "image_embedding_size": 8},
        "mask_decoder_config": decoder,
    }
    made = SamHead(32, shape)
    weights = {renamed(name): value for name, value in load_file(GOLDEN / "weights.safetensors").items()}
    report = made.load_state_dict(weights, strict=False)
    assert all(
        name.startswith(("model.", "lm_head")) for name in report.unexpected_keys
    )  # a language model, and points
    assert all(name.startswith("encoder.") for name in report.missing_keys)
    return made.eval()


def states() -> list[Tensor]:
    """The states that LISA reads, of the two masks of each picture."""
    last = theirs("mid/last_hidden")
    found = [last[row, at] for row, places in enumerate(FACTS["positions_read"]) for at in places]
    return [torch.stack(found[:2]), torch.stack(found[2:])]


def test_the_state_that_is_read_is_the_one_that_predicts_seg() -> None:
    seg = 61
    for row, places in enumerate(FACTS["positions_read"]):
        ids = theirs("in/input_ids")[row].tolist()
        expanded = [token for each in ids for token in ([each] * 256 if each == -200 else [each])]
        assert [at - 1 for at, token in enumerate(expanded) if token == seg] == places


@pytest.mark.parametrize("number", [0, 1])
def test_embedding_mask_and_its_size_are_those_of_the_published_code(head: SamHead, number: int) -> None:
    state, embedding = states()[number], theirs(f"mid/image_embedding_{number}")
    with torch.no_grad():
        prompts = head.state(state)
        low = head.decode(prompts, embedding)
        size = tuple(theirs("in/sizes")[number].tolist())
        full = head.restore(low, size, size)
    torch.testing.assert_close(prompts, theirs(f"mid/seg_embedding_{number}")[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(low, theirs(f"mid/low_res_{number}")[:, 0], atol=1e-5, rtol=0)
    assert head.frame(size) == tuple(theirs("in/resize")[number].tolist())
    torch.testing.assert_close(full, theirs(f"out/pred_{number}"), atol=1e-5, rtol=0)


def test_losses_are_those_of_the_published_code() -> None:
    """Each mask at its picture's own size; the mean over masks, weighted."""
    masks = [(theirs(f"out/pred_{number}"), theirs(f"in/gt_{number}")) for number in (0, 1)]
    logits = torch.cat([found.flatten() for found, _ in masks])
    labels = torch.cat([FULL * wanted.flatten() for _, wanted in masks])[:, None]
    sizes = torch.tensor([wanted[0].numel() for _, wanted in masks for _ in wanted])
    none = torch.zeros(0)
    targets = Targets(none, none, labels, torch.arange(4).repeat_interleave(sizes), 4)
    bce, dice = mask_losses(logits, targets)
    settings = EmbeddingSettings()
    found = torch.stack([settings.bce * bce.mean(), settings.dice * dice.mean()])
    torch.testing.assert_close(
        found, torch.stack([theirs("out/mask_bce_loss"), theirs("out/mask_dice_loss")]), atol=1e-6, rtol=0
    )
