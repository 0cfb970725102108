"""Replies of a batch decoded together: the language model over what one cache does not hold yet."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from stamp_train.attention import AttentionPlan, make_plan
from stamp_train.generation.branches import Branch, Document, Stretch
from stamp_train.generation.cache import CachedPlan, Glance, KeyValues, in_halves, join, portions
from stamp_train.generation.replies import Event, Reply, SourceImage
from stamp_train.generation.sampling import GenerationOptions, choose, penalise
from stamp_train.methods.stamp.heads import patches_to_grid
from stamp_train.sequence.chat import ChatEncoder
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.inputs import ImageFeatures, MaskBlock, StampInputs
from stamp_train.sequence.structure import AttentionStructure

Block = tuple[Branch, int]  # a mask to draw: the index of its <|seg|> in the reply's ids


def encode(model: Any, sources: Sequence[SourceImage]) -> None:
    """Run the vision tower once over each image that it has not seen.

    Raises:
        StampModelError: memory does not suffice for a single image; names it.
    """

    @torch.no_grad()
    def work(some: Sequence[SourceImage]) -> Iterable[SourceImage]:
        pixels = torch.cat([source.pixel_values for source in some]).to(model.device)
        grids = torch.tensor([source.grid_thw for source in some], device=model.device)
        found = model.encode_images(pixels, grids).split([source.patches for source in some])
        for source, features in zip(some, found, strict=True):
            source.features = features
        return some

    unseen = [source for source in dict.fromkeys(sources) if source.features is None]
    if unseen:
        for _ in in_halves(unseen, work, lambda source: source.name):
            pass


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
        return ImageFeatures.join(found) if found else self.model.no_images(self.device)

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

    def answers(self, options: GenerationOptions) -> Iterator[Event]:
        """Decode all replies to their ends, then draw their masks; `options` are complete, see `prompts.complete`."""
        yield from self.decode(options)
        self.draw_all(options.mask_tokens)
        for branch in self.branches:
            yield branch.reply.answer(self.chat.seg_id)

    def decode(self, options: GenerationOptions) -> Iterator[Event]:
        """The text of all replies, a token each at a time, until the last has ended."""
        going = [branch for branch in self.branches if branch.reply.finish is None]
        penalty = options.repetition_penalty or 1.0
        while going:
            replies = [branch.reply for branch in going]
            logits = self.next_logits(going)
            seen = [{*reply.opening, *reply.ids} for reply in replies] if penalty != 1 else []
            draws = [reply.random.random() for reply in replies]
            tokens = choose(penalise(logits, seen, penalty), draws, options.temperature, options.top_p)
            for reply, token in zip(replies, tokens, strict=True):
                yield from reply.events(reply.take(token))
            going = [branch for branch in going if branch.reply.finish is None]

    def draw_all(self, most: int) -> None:
        """All masks that are still to be drawn, in as few passes of at most so many mask tokens as it takes."""
        blocks = [
            (branch, at)
            for branch in self.branches
            for at in branch.reply.segs(self.chat.seg_id)
            if at not in branch.reply.masks
        ]
        # The last token of an answer has been decoded but not read, and a mask needs its own <|seg|> in the cache.
        unread = list(dict.fromkeys(branch for branch, at in blocks if at >= branch.held))
        if unread:
            self.read(unread)
        for portion in portions(blocks, lambda block: block[0].document.patches, most):
            for _ in in_halves(portion, self.draw):
                pass

    @torch.no_grad()
    def draw(self, blocks: Sequence[Block]) -> Iterable[Reply]:
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
        words = self.model.stamp_config.head_words
        named = [
            MaskBlock(branch.reply.name, 0, branch.document.grid, tuple(branch.reply.ids[max(at - words, 0) : at]))
            for branch, at in blocks
        ]
        logits = self.model.read_masks(states, self.features, inputs.feature_rows, named).float().cpu()
        parts = torch.split(logits, [block.size for block in named])
        for (branch, at), block, part in zip(blocks, named, parts, strict=True):
            _check_numbers("mask", [branch.reply], part.flatten()[None])
            branch.reply.masks[at] = patches_to_grid(part, block.grid)
        return [branch.reply for branch, _ in blocks]

    def _run(self, inputs: StampInputs, plan: AttentionPlan, cache: KeyValues | Glance) -> Tensor:
        """Final states [L, H]."""
        found: Tensor = self.model.run_language(inputs, self.features, plan, cache).last_hidden_state[0]
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
            fix="check the checkpoint's weights, and its precision: float16 overflows where bfloat16 does not",
        )
