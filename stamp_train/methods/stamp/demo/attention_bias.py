"""Random weights that begin with a guess about pictures and sentences: what belongs together lies near.

In both towers rotary positions turn queries and keys before they meet. A bias is the same for every token, so biases
alone can make a head look at a fixed distance: if the key has a in the first half of each pair of channels, and the query
a turned back by f * d, the score of two tokens is the sum over the frequencies f of a² cos(f * (distance - d)), which is
highest where their distance is d. Training may change all of it. A transformer that begins like a convolution learns
small sets of pictures sooner (d'Ascoli et al., "ConViT", ICML 2021, who get there by extra parameters).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stamp_schemas import UsageFault

Offset = tuple[int, int]  # rows down, columns to the right

_BESIDE: tuple[Offset, ...] = ((-1, 0), (1, 0), (0, -1), (0, 1))
_ACROSS: tuple[Offset, ...] = ((-1, -1), (1, -1), (-1, 1), (1, 1))
_BEYOND: tuple[Offset, ...] = ((-2, 0), (2, 0), (0, -2), (0, 2))
_VISION = (_BESIDE, _ACROSS, _BEYOND)  # what the heads of a layer look at, layer after layer and over again
_SLOWEST = 0.05  # radians per patch; slower frequencies do not tell neighbours apart
_VISION_SCORE = 4.0  # of every frequency, where the distance is the right one
_BEFORE = (1, 3)  # tokens back: the words that an answer has just said
_LANGUAGE_SCORE = 6.0  # of all frequencies together


@torch.no_grad()
def begin_near(network: Any) -> None:
    """Set the biases of queries and keys, in place.

    Heads of the vision tower look at neighbours, one or two patches off; half of the language model's look one and three
    tokens back, by the rotary axis of time, on which all tokens of a picture are one. UsageFault if there are no biases.
    """
    visual, language = network.model.visual, network.model.language_model
    if language.layers[0].self_attn.q_proj.bias is None:
        raise UsageFault(
            f"near sets biases of attention, which the language model of {network.backbone.name} lacks",
            "method.demo.near=false",
        )
    for number, block in enumerate(visual.blocks):
        _aim_vision(block.attn, visual.rotary_pos_emb.inv_freq, _VISION[number % len(_VISION)])
    rotary = language.rotary_emb
    in_time = language.config.rope_parameters["mrope_section"][0]
    for layer in language.layers:
        _aim_language(layer.self_attn, rotary.inv_freq[:in_time])


@torch.no_grad()
def scale_readout(network: Any, factor: float) -> None:
    """Multiply the weights of the fine head whose products tell what is sought from what is not, in place."""
    for name, module in network.classifier.named_children():
        if isinstance(module, nn.Linear) and name != "out":
            module.weight *= factor


def _aim_vision(attention: Any, frequencies: Tensor, offsets: Sequence[Offset]) -> None:
    """Rows turn the first half of the pairs, columns the second."""
    heads, width = attention.num_heads, attention.head_dim
    used = (frequencies > _SLOWEST).double().repeat(2)
    query, key = torch.zeros(heads, width), torch.zeros(heads, width)
    for head in range(heads):
        distance = torch.tensor(offsets[head % len(offsets)], dtype=torch.float64).repeat_interleave(len(frequencies))
        query[head], key[head] = _aimed(frequencies.double().repeat(2) * distance, used * _VISION_SCORE, width)
    attention.qkv.bias.copy_(torch.stack([query, key, torch.zeros_like(key)]).flatten())


def _aim_language(attention: Any, frequencies: Tensor) -> None:
    width = attention.head_dim
    queries, keys = (len(part.bias) // width for part in (attention.q_proj, attention.k_proj))
    query, key = torch.zeros(queries, width), torch.zeros(keys, width)
    scores = torch.full(frequencies.shape, _LANGUAGE_SCORE / len(frequencies), dtype=torch.float64)
    for head in range(queries // 2):
        angles = frequencies.double() * -_BEFORE[head % len(_BEFORE)]
        query[head], key[head * keys // queries] = _aimed(angles, scores, width)
    attention.q_proj.bias.copy_(query.flatten())
    attention.k_proj.bias.copy_(key.flatten())


def _aimed(angles: Tensor, scores: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Biases [width] of query and key that meet with these scores, scaled by attention. Pairs are half a head apart."""
    size = (scores * width**0.5).sqrt()
    query, key = torch.zeros(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
    count, half = len(angles), width // 2
    key[:count] = size
    query[:count], query[half : half + count] = size * angles.cos(), size * angles.sin()
    return query, key
