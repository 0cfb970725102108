"""Replies of a batch decoded together: the language model over what one cache does not hold yet."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from stamp_train.model.attention import AttentionPlan, make_plan
from stamp_train.model.cache import CachedPlan, Glance, KeyValues, join
from stamp_train.model.chat import ChatEncoder
from stamp_train.model.dialogues import Branch, Document, Reply, SourceImage, Stretch
from stamp_train.model.errors import StampModelError
from stamp_train.model.heads import patches_to_grid
from stamp_train.model.inputs import MaskBlock, StampInputs
from stamp_train.model.modeling import ImageFeatures


class Batch:
    """Replies that are decoded together, over one cache.

    Args:
        model: the model.
        chat: encoder of its tokenizer.
        replies: whose images have their features.
        attention: backend for the first pass.
    """

    def __init__(self, model: Any, chat: ChatEncoder, replies: Sequence[Reply], attention: str) -> None:
        self.model, self.chat, self.attention = model, chat, attention
        self.cache = KeyValues()
        sources = list(dict.fromkeys(reply.source for reply in replies if reply.source))
        self.features = self._join_features(sources)
        ends = torch.tensor([0, *(source.patches for source in sources)]).cumsum(0).tolist()
        first_rows = dict(zip(sources, ends, strict=False))
        documents: dict[Hashable, Document] = {}
        branches = []
        for reply in replies:
            # Dialogues of one image that begin alike share that; those without an image share nothing.
            key = (reply.source, reply.opening) if reply.source else reply
            first = first_rows[reply.source] if reply.source else 0
            fresh = Document(len(documents) + 1, reply.source, reply.opening, first, held=reply.source is None)
            document = documents.setdefault(key, fresh)
            document.branches += 1
            branches.append(Branch(reply, document, document.branches))
        self.branches = sorted(branches, key=lambda branch: branch.document.number)

    def _join_features(self, sources: Sequence[SourceImage]) -> ImageFeatures:
        """Features of the images, one after another."""
        found = [source.features for source in sources if source.features]
        if not found:
            nothing = torch.zeros(0, self.model.config.text_config.hidden_size, device=self.device)
            return ImageFeatures(nothing, nothing)
        return ImageFeatures(torch.cat([f.merged for f in found]), torch.cat([f.patches for f in found]))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.model.device
        return device

    @torch.no_grad()
    def read(self, branches: Sequence[Branch]) -> Tensor:
        """Bring branches into the cache up to their last id, and the openings they need.

        Args:
            branches: some of the batch's, in its order, each with at least one unread id.

        Returns:
            Final states [len(branches), H] of their last tokens.
        """
        stretches: list[Stretch] = []
        ends = []  # number of stretches after each branch
        for document, members in groupby(branches, key=lambda branch: branch.document):
            if not document.held:
                stretches.append(document.prefix())
            for branch in members:
                stretches.append(branch.unread())
                ends.append(len(stretches))
        lengths = torch.tensor([len(stretch.ids) for stretch in stretches])
        last = lengths.cumsum(0)[torch.tensor(ends) - 1] - 1
        structure = join([stretch.structure() for stretch in stretches])
        plan: AttentionPlan
        if len(self.cache):
            plan = CachedPlan(structure, join([self.cache.structure, structure]), self.device)
        else:
            plan = make_plan(structure.to(self.device), self.attention, self.model.dtype)
        states = self._run(_inputs(stretches, structure).to(self.device), plan, self.cache)
        self.cache.commit(structure)
        for branch in branches:
            branch.document.held = True
            branch.held = len(branch.reply.ids)
        return states[last.to(self.device)]

    def next_logits(self, branches: Sequence[Branch]) -> Tensor:
        """Logits float32 [len(branches), V] for the next token of branches, see `read`.

        Raises:
            StampModelError: they are not numbers; names the dialogue.
        """
        with torch.no_grad():
            logits: Tensor = self.model.lm_head(self.read(branches)).float()
        _check_numbers("text", [branch.reply for branch in branches], logits)
        return logits

    @torch.no_grad()
    def draw(self, blocks: Sequence[tuple[Branch, int]]) -> Iterable[Reply]:
        """One pass over mask blocks: branches and the indices of their `<|seg|>`, which the cache must hold.

        Returns:
            The replies, their masks put in.

        Raises:
            StampModelError: mask logits are not numbers; names the dialogue.
        """
        scheme = self.model.stamp_config.mask_positions
        stretches = [
            branch.mask_block(at, number, self.chat.mask_id, scheme)
            for number, (branch, at) in enumerate(blocks, start=1)
        ]
        structure = join([stretch.structure() for stretch in stretches])
        plan = CachedPlan(structure, join([self.cache.structure, structure]), self.device)
        inputs = _inputs(stretches, structure).to(self.device)
        states = self._run(inputs, plan, Glance(self.cache))
        named = [MaskBlock(branch.reply.name, 0, branch.document.grid) for branch, _ in blocks]
        logits = self.model.read_masks(states, self.features, inputs.feature_rows, named).float().cpu()
        parts = torch.split(logits, [block.size for block in named])
        for (branch, at), block, part in zip(blocks, named, parts, strict=True):
            _check_numbers("mask", [branch.reply], part.flatten()[None])
            branch.reply.masks[at] = patches_to_grid(part, block.grid)
        return [branch.reply for branch, _ in blocks]

    def _run(self, inputs: StampInputs, plan: AttentionPlan, cache: KeyValues | Glance) -> Tensor:
        """Final states [L, H]."""
        found: Tensor = self.model.model.language_model(
            inputs_embeds=self.model.embed(inputs, self.features),
            position_ids=inputs.position_ids,
            attention_mask={"full_attention": plan},
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state[0]
        return found


def _inputs(stretches: Sequence[Stretch], structure: AttentionStructure) -> StampInputs:
    nothing = torch.zeros(0, dtype=torch.int64)
    return StampInputs(
        input_ids=torch.cat([stretch.ids for stretch in stretches])[None],
        position_ids=torch.cat([stretch.positions for stretch in stretches], dim=1)[:, None],
        structure=structure,
        feature_rows=torch.cat([stretch.features for stretch in stretches]),
        text_rows=nothing,
        mask_rows=nothing,
    )


def _check_numbers(kind: str, replies: Sequence[Reply], logits: Tensor) -> None:
    broken = logits.isnan().any(-1).tolist()
    if any(broken):
        raise StampModelError(
            f"{kind} logits are not numbers",
            where=replies[broken.index(True)].name,
            fix="Check the checkpoint's weights, and its precision: float16 overflows where bfloat16 does not",
        )
