"""Attention that begins near: measured in the attention that transformers itself computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.models.qwen2_vl import modeling_qwen2_vl

from stamp_schemas import UsageFault
from stamp_train.backbones.modeling import model_class
from stamp_train.backbones.presets import build_preset, byte_tokenizer, preset_config
from stamp_train.methods.stamp.demo.attention_bias import begin_near, scale_readout
from stamp_train.recipes import resolve
from stamp_train.train.network import build_network

from ..stamping import settings

BESIDE = [(-1, 0), (1, 0), (0, -1), (0, 1)]
ACROSS = [(-1, -1), (1, -1), (-1, 1), (1, 1)]
BEYOND = [(-2, 0), (2, 0), (0, -2), (0, 2)]


def fresh(heads: int = 4) -> Any:
    config = preset_config("tiny", byte_tokenizer(), settings("fine"))
    config.vision_config.depth, config.vision_config.embed_dim, config.vision_config.num_heads = 4, 32 * heads, heads
    torch.manual_seed(0)
    return model_class("qwen2_vl")._from_config(config).eval()


def vision_scores(network: Any, rows: int, columns: int) -> list[torch.Tensor]:
    """Scores of every layer by position alone (features of zero), patches row by row: [heads, patches, patches]."""
    visual = network.model.visual
    places = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), -1).reshape(-1, 2)
    angles = (places[:, :, None] * visual.rotary_pos_emb.inv_freq).flatten(1)
    angles = torch.cat([angles, angles], -1)
    found = []
    for block in visual.blocks:
        attention = block.attn
        nothing = torch.zeros(len(places), attention.dim)
        q, k, _ = attention.qkv(nothing).reshape(len(places), 3, attention.num_heads, -1).unbind(1)
        q, k = modeling_qwen2_vl.apply_rotary_pos_emb_vision(q, k, angles.cos(), angles.sin())
        found.append(torch.einsum("qhd,khd->hqk", q, k) / attention.head_dim**0.5)
    return found


def test_a_family_without_these_biases_is_told_in_a_line() -> None:
    network, _ = build_preset("qwen3-tiny")
    with pytest.raises(UsageFault, match="biases of attention, which the language model of Qwen3-VL lacks") as fault:
        begin_near(network)
    assert fault.value.hint == "method.demo.near=false"


@torch.no_grad()
def test_every_head_of_the_vision_tower_looks_at_its_neighbour() -> None:
    network = fresh()
    begin_near(network)
    rows, columns = 8, 12
    for found, offsets in zip(vision_scores(network, rows, columns), [BESIDE, ACROSS, BEYOND, BESIDE], strict=True):
        for head, (down, right) in enumerate(offsets):
            for row in range(2, rows - 2):
                for column in range(2, columns - 2):
                    best = int(found[head, row * columns + column].argmax())
                    assert divmod(best, columns) == (row + down, column + right)


@torch.no_grad()
def test_half_of_the_language_heads_look_back_and_the_rest_at_nothing_in_particular() -> None:
    network = fresh()
    begin_near(network)
    language = network.model.language_model
    length = 12
    nothing = torch.zeros(1, length, language.config.hidden_size)
    positions = torch.arange(length).expand(3, 1, length)
    cos, sin = language.rotary_emb(nothing, positions)
    for layer in language.layers:
        attention = layer.self_attn
        q, k = (part(nothing).unflatten(-1, (-1, attention.head_dim)) for part in (attention.q_proj, attention.k_proj))
        k = k.repeat_interleave(q.shape[2] // k.shape[2], 2)
        q, k = modeling_qwen2_vl.apply_rotary_pos_emb(q, k, cos, sin, unsqueeze_dim=2)
        found = torch.einsum("bqhd,bkhd->hqk", q, k)
        for query in range(4, length):
            assert int(found[0, query, : query + 1].argmax()) == query - 1
            assert int(found[1, query, : query + 1].argmax()) == query - 3
        assert not found[2:].any()


def test_only_biases_and_the_readout_change() -> None:
    one, other = fresh(), fresh()
    begin_near(one)
    scale_readout(one, 3.0)
    theirs = dict(other.named_parameters())
    changed = {name for name, weight in one.named_parameters() if not torch.equal(weight, theirs[name])}
    biases = {name for name in changed if name.endswith(("qkv.bias", "q_proj.bias", "k_proj.bias"))}
    assert changed - biases == {"classifier.state.weight", "classifier.vision.weight"}
    torch.testing.assert_close(one.classifier.state.weight, 3 * other.classifier.state.weight)
    patch = build_preset("tiny", method=settings("patch"))[0]
    before = patch.classifier.weight.clone()
    scale_readout(patch, 3.0)
    assert torch.equal(patch.classifier.weight, before)


def test_a_recipe_says_how_its_weights_begin() -> None:
    recipe = resolve(
        "tiny",
        ["method.demo={near: true, readout: 2.0}", "model.shape={rope_theta: 10}", "model.vocabulary=0"],
    ).recipe
    plain = resolve("tiny", ["method.demo=null", "model.shape={rope_theta: 10}", "model.vocabulary=0"]).recipe
    near, far = (build_network(one)[0] for one in (recipe, plain))
    assert near.model.visual.blocks[0].attn.qkv.bias.any() and not far.model.visual.blocks[0].attn.qkv.bias.any()
    torch.testing.assert_close(near.classifier.state.weight, 2 * far.classifier.state.weight)
    frequencies = near.model.language_model.rotary_emb.inv_freq
    assert frequencies[-1] == pytest.approx(10 ** -(1 - 1 / len(frequencies)))
