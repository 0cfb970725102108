"""Random weights that begin with a guess about pictures and sentences: what belongs together lies near, or is alike; and a
projection of pixels that is never trained.

In both towers rotary positions turn queries and keys before they meet. A bias is the same for every token, so biases
alone make a head look at a fixed distance d: with a in the first half of each pair of the key's channels, and a turned back
by f * d in the query's, the score of two tokens is the sum over the frequencies f of a² cos(f * (distance - d)), highest at d
(the idea of d'Ascoli et al., "ConViT", ICML 2021). docs/benchmarks/model.md has what it brings.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tools.tiny_base.recipe import Scenes
from tools.tiny_base.scenes import Drawn, pixels_of

Offset = tuple[int, int]  # rows down, columns to the right

_VISION: tuple[tuple[Offset, ...], ...] = (  # what the heads of a layer look at, layer after layer and over again
    ((-1, 0), (1, 0), (0, -1), (0, 1)),
    ((-1, -1), (1, -1), (-1, 1), (1, 1)),
    ((-2, 0), (2, 0), (0, -2), (0, 2)),
)
_SLOWEST = 0.05  # radians per patch; slower frequencies do not tell neighbours apart
_VISION_SCORE = 4.0  # of every frequency, where the distance is the right one
_BEFORE = (1, 3)  # tokens back
_LANGUAGE_SCORE = 6.0  # of all frequencies together
_SLOW = 0.1  # radians per token
_ALIKE = 1.6  # of those pairs, to make up for the others
_PICTURES = 100  # whose patches the projection is fitted to
_FLOOR = 0.02  # share of the largest variance that small ones are raised to before whitening


@torch.no_grad()
def begin_near(network: Any) -> None:
    """Set the biases of queries and keys, in place: heads of the vision tower look at neighbours, half of the language model's
    at the tokens just before."""
    visual, language = network.model.visual, network.model.language_model
    frequencies = visual.rotary_pos_emb.inv_freq.double()
    for number, block in enumerate(visual.blocks):
        _aim_vision(block.attn, frequencies, _VISION[number % len(_VISION)])
    in_time = language.config.rope_parameters["mrope_section"][0]
    for layer in language.layers:
        _aim_language(layer.self_attn, language.rotary_emb.inv_freq[:in_time].double())


@torch.no_grad()
def begin_alike(network: Any) -> None:
    """Let the other half of the language model's heads begin by looking at what is alike, in place: a key is asked for by a
    query of the same direction. As far as the features of a picture look like words, the word "star" then looks at stars. Only
    slow rotary pairs take part: what the others find depends on the distance. And what any head finds is handed on as it is."""
    language = network.model.language_model
    slow = (language.rotary_emb.inv_freq <= _SLOW).float().repeat(2)
    for layer in language.layers:
        attention = layer.self_attn
        width = attention.head_dim
        heads = len(attention.q_proj.weight) // width
        group = heads * width // len(attention.k_proj.weight)
        for head in range(heads):
            rows = slice(head * width, (head + 1) * width)
            keys = slice(head // group * width, (head // group + 1) * width)
            attention.o_proj.weight[:, rows] = attention.v_proj.weight[keys].T
            if head >= heads // 2:
                asked = attention.k_proj.weight[keys] * slow[:, None] * _ALIKE
                attention.q_proj.weight[rows] = attention.k_proj.weight[keys] = asked


def _aim_vision(attention: Any, frequencies: Tensor, offsets: tuple[Offset, ...]) -> None:
    """Rows turn the first half of the pairs, columns the second."""
    heads, width = attention.num_heads, attention.head_dim
    scores = (frequencies > _SLOWEST).double().repeat(2) * _VISION_SCORE
    query, key = torch.zeros(heads, width), torch.zeros(heads, width)
    for head in range(heads):
        distance = torch.tensor(offsets[head % len(offsets)], dtype=torch.float64).repeat_interleave(len(frequencies))
        query[head], key[head] = _aimed(frequencies.repeat(2) * distance, scores, width)
    attention.qkv.bias.copy_(torch.stack([query, key, torch.zeros_like(key)]).flatten())


def _aim_language(attention: Any, frequencies: Tensor) -> None:
    width = attention.head_dim
    queries, keys = (len(part.bias) // width for part in (attention.q_proj, attention.k_proj))
    query, key = torch.zeros(queries, width), torch.zeros(keys, width)
    scores = torch.full(frequencies.shape, _LANGUAGE_SCORE / len(frequencies), dtype=torch.float64)
    for head in range(queries // 2):
        angles = frequencies * -_BEFORE[head % len(_BEFORE)]
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


def fit_projection(scenes: Scenes, width: int) -> Tensor:
    """The main directions in which patches of pictures differ, float32 [width, 1176], scaled so that faint ones (edges) are
    heard beside loud ones (colors). It is not trained: small steps of its weights would shift all features at once."""
    seed = scenes.train_seed
    patches = np.concatenate([pixels_of(Drawn(scenes, seed, n).picture, scenes)[0] for n in range(_PICTURES)])
    patches = patches.astype(np.float64)
    values, directions = np.linalg.eigh(np.cov(patches, rowvar=False))
    values, directions = values[::-1][:width], directions[:, ::-1][:, :width]
    directions *= np.sign(directions.sum(0) + 1e-12)  # of the two signs, libraries return either
    scaled = directions / np.sqrt(values + _FLOOR * values[0])
    projection = torch.from_numpy(np.ascontiguousarray(scaled.T, np.float32))
    return projection.bfloat16().float()  # as it will be published
