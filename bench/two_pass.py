"""The two ways to train on the same dialogues that `train_step.py` compares, and what each puts through the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from stamp_train.attention.partition import partition
from stamp_train.methods.losses import total
from stamp_train.methods.stamp.losses import LOSSES, mask_losses
from stamp_train.sequence.examples import ImageExample, PackedBatch
from stamp_train.sequence.layout import Layout
from stamp_train.sequence.structure import AttentionStructure


@dataclass(frozen=True)
class Work:
    """What a style puts through the model in a step: tokens, query-key pairs and supervised rows of the language
    model, and images through the vision tower."""

    tokens: int
    pairs: int
    text_rows: int
    images: int


class OnePass:
    """The packed sequence of all images and dialogues, with one attention backend."""

    def __init__(self, model: Any, batch: PackedBatch, backend: str) -> None:
        self.model, self.batch, self.backend = model, batch, backend
        self.counts = model.method.counts(batch.targets)
        self.work = one_pass_work(batch)

    def loss(self) -> Tensor:
        output = self.model(inputs=self.batch.inputs, attention=self.backend)
        return total(self.model.method.losses(output, self.batch.targets), self.counts)


class TwoPass:
    """A row per dialogue for the text, a row per mask for the masks, both right-padded; through transformers' own code."""

    def __init__(self, model: Any, layout: Layout, images: Sequence[ImageExample], device: torch.device) -> None:
        self.model = model
        self.singles = [layout([replace(image, dialogues=[d])]) for image in images for d in image.dialogues]
        self.work = two_pass_work(self.singles)
        self.text, self.masks = self._rows("text", device), self._rows("masks", device)
        for example in self.singles:
            assert len(example.inputs.masks) == 1  # one mask per dialogue here
        self.targets = [single.targets.to(device) for single in self.singles]
        self.pixels = torch.cat([single.inputs.pixel_values for single in self.singles]).to(device)
        self.grids = torch.cat([single.inputs.image_grid_thw for single in self.singles]).to(device)
        # (row, place) of every supervised token; in a layout of one dialogue the text comes first, so places stay.
        pairs = [(i, int(place)) for i, single in enumerate(self.singles) for place in single.inputs.text_rows]
        self.supervised = torch.tensor(pairs, device=device).T
        self.allowed = self._allowed().to(device)

    def _rows(self, kind: str, device: torch.device) -> dict[str, Tensor]:
        """Ids [B, L], positions [3, B, L], and which tokens are the image's, a mask's, or padding [B, L]."""
        columns: dict[str, list[Tensor]] = {name: [] for name in ("ids", "positions", "image", "mask", "real")}
        for single in self.singles:
            structure, inputs = single.inputs.structure, single.inputs
            keep = text_of(structure) if kind == "text" else mask_row_of(structure)
            mask = structure.block[keep] > 0
            columns["ids"].append(inputs.input_ids[0, keep])
            columns["positions"].append(inputs.position_ids[:, 0, keep].T)
            columns["image"].append((inputs.feature_rows[keep] >= 0) & ~mask)
            columns["mask"].append(mask)
            columns["real"].append(torch.ones_like(mask))
        padded = {name: pad_sequence(rows, batch_first=True).to(device) for name, rows in columns.items()}
        return {**padded, "positions": padded["positions"].permute(2, 0, 1).contiguous()}

    def _allowed(self) -> Tensor:
        """The hybrid mask, bool [B, 1, L, L]: causal, but mask tokens see the whole row."""
        mask, real = self.masks["mask"].cpu(), self.masks["real"].cpu()
        causal = torch.ones(mask.shape[1], mask.shape[1], dtype=torch.bool).tril()
        return ((causal | mask[:, :, None]) & real[:, None, :])[:, None]

    def loss(self) -> Tensor:
        return self._text_loss() + self._mask_loss()

    def _text_loss(self) -> Tensor:
        states = self.model.model(
            input_ids=self.text["ids"],
            position_ids=self.text["positions"],
            mm_token_type_ids=self.text["image"].int(),
            pixel_values=self.pixels,
            image_grid_thw=self.grids,
            use_cache=False,
        ).last_hidden_state
        logits = self.model.lm_head(states[self.supervised[0], self.supervised[1]])
        return F.cross_entropy(logits.float(), torch.cat([targets.text_ids for targets in self.targets]))

    def _mask_loss(self) -> Tensor:
        vision = self.model.encode_images(self.pixels, self.grids)
        embeds = self.model.model.language_model.embed_tokens(self.masks["ids"])
        embeds[self.masks["image"]] = vision.merged
        embeds[self.masks["mask"]] = embeds[self.masks["mask"]] + vision.merged
        states = self.model.model.language_model(
            inputs_embeds=embeds,
            position_ids=self.masks["positions"],
            attention_mask=self.allowed,
            use_cache=False,
        ).last_hidden_state[self.masks["mask"]]
        masks = [single.inputs.masks[0] for single in self.singles]
        rows = torch.arange(len(states), device=states.device)
        parts = self.model.read_out(masks, states, vision, rows)["mask"].split([mask.rows for mask in masks])
        settings = LOSSES["default"]
        each = [mask_losses(part, targets, settings) for part, targets in zip(parts, self.targets, strict=True)]
        return torch.cat(each).mean()


def text_of(structure: AttentionStructure) -> Tensor:
    return structure.block == 0


def mask_row_of(structure: AttentionStructure) -> Tensor:
    """The tokens up to `<|seg|>`, and the block, of a layout with one mask."""
    block = structure.block > 0
    return block | (structure.order <= structure.order[block][0])


def one_pass_work(batch: PackedBatch) -> Work:
    structure, inputs = batch.inputs.structure, batch.inputs
    images = 0 if inputs.image_grid_thw is None else len(inputs.image_grid_thw)
    return Work(len(structure), visible_pairs(structure), len(inputs.text_rows), images)


def two_pass_work(singles: Sequence[PackedBatch]) -> Work:
    """Rows at their true length: padding is not held against the rival."""
    structures = [single.inputs.structure for single in singles]
    rows = [structure[keep(structure)] for structure in structures for keep in (text_of, mask_row_of)]
    return Work(
        tokens=sum(map(len, rows)),
        pairs=sum(map(visible_pairs, rows)),
        text_rows=sum(len(single.inputs.text_rows) for single in singles),
        images=len(rows),
    )


def visible_pairs(structure: AttentionStructure) -> int:
    found = partition(structure)
    pairs = 0
    for segment in found.segments:
        queries, keys = (sum(found.lengths[i] for i in side) for side in (segment.query, segment.key))
        pairs += queries * keys - (queries * (queries - 1) // 2 if segment.causal else 0)
    return pairs
