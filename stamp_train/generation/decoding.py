"""Replies of a batch decoded together: the language model over what one cache does not hold yet."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from stamp_train.attention import AttentionPlan, make_plan
from stamp_train.generation.branches import Branch, CachedDocument
from stamp_train.generation.cache import CachedPlan, KeyValues, ReadOnlyCache, in_halves, join, portions
from stamp_train.generation.replies import Event, Reply, SourceImage
from stamp_train.generation.sampling import GenerationOptions, choose, penalise
from stamp_train.sequence.chat import ChatEncoder
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.inputs import ImageFeatures, MaskPlace, StampInputs
from stamp_train.sequence.structure import AttentionStructure
from stamp_train.sequence.token_sequence import TokenSequence

Wanted = tuple[Branch, int]  # a mask to draw: the index in the reply's ids where it is said


def encode(model: Any, sources: Sequence[SourceImage]) -> None:
    """Run the vision tower once over each image that it has not seen.

    Raises StampModelError if memory does not suffice for a single image; names it.
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
    """Replies that are decoded together, over one cache. attention: backend for the first pass."""

    def __init__(self, model: Any, chat: ChatEncoder, replies: Sequence[Reply], attention: str) -> None:
        self.model, self.chat, self.attention = model, chat, attention
        self.cache = KeyValues()
        sources = list(dict.fromkeys(reply.source for reply in replies if reply.source))
        seen = [source.features for source in sources if source.features]
        self.features: ImageFeatures = ImageFeatures.join(seen) if seen else model.no_images(model.device)
        ends = torch.tensor([0, *(source.patches for source in sources)]).cumsum(0).tolist()
        documents: dict[Hashable, CachedDocument] = {}
        branches = []
        for reply in replies:
            # Dialogues of one image that begin alike share that; those without an image share nothing.
            key: Hashable = (reply.source, reply.opening) if reply.source else reply
            if key not in documents:
                number = len(documents) + 1
                image = sources.index(reply.source) if reply.source else 0
                grid = reply.source.grid if reply.source else (0, 0)
                documents[key] = CachedDocument(number, reply.opening, grid, image, ends[image], held=not reply.source)
            document = documents[key]
            document.branches += 1
            stretch = model.method.stretch(document.grid, chat.control) if reply.source else None
            branches.append(Branch(reply, document, document.branches, chat.seg_id, stretch))
        self.branches = sorted(branches, key=lambda branch: branch.document.number)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self.model.device
        return device

    @torch.no_grad()
    def read(self, branches: Sequence[Branch]) -> Tensor:
        """Bring branches into the cache up to their last id, and the openings they need.

        branches: some of the batch's, in its order, each with at least one unread id. What a method puts behind a `<|seg|>` is
        made on the way. Final states [len(branches), H] of their last tokens come back.
        """
        if stopped := [branch for branch in branches if branch.stopped]:
            self._put(stopped)
        states = self._read(branches)
        left, found = list(branches), dict[Branch, Tensor]()
        while waiting := [branch for branch in left if branch.waiting is not None]:
            found |= zip(left, states, strict=True)
            self._put(waiting)
            left = [branch for branch in left if branch.held < len(branch.reply.ids)]
            states = self._read(left) if left else states[:0]
        if found:
            found |= zip(left, states, strict=True)
            return torch.stack([found[branch] for branch in branches])
        return states

    def _put(self, waiting: Sequence[Branch]) -> None:
        """Have the method make what stands behind the `<|seg|>` that these have just read; all of it or, in a fault, none."""
        before = len(self.cache)
        try:
            made = self.model.method.say(self, [branch.seg(branch.held - 1) for branch in waiting])
        except BaseException:
            self.cache.cut(before)
            raise
        limit = self.model.config.text_config.max_position_embeddings
        for branch, numbers in zip(waiting, made, strict=True):
            branch.put(numbers, limit)

    def _read(self, branches: Sequence[Branch]) -> Tensor:
        """In one pass, as far as each can be read."""
        sequence = self.sequence()
        spans = []  # rows of each branch
        begun = {}  # document -> row where it begins
        for document, members in groupby(branches, key=lambda branch: branch.document):
            if not document.held:
                begun[document] = sequence.length
                sequence.put(document.prefix())
            spans += [sequence.put(branch.unread()) for branch in members]
        states = self.keep(sequence)
        if self.model.method.keeps_image:
            for document, row in begun.items():
                first = row + document.image_at
                document.image_states = states[first : first + document.patches].clone()
        for branch, rows in zip(branches, spans, strict=True):
            branch.keep(states[int(rows[0]) : int(rows[-1]) + 1])
            branch.document.held = True
        return states[torch.tensor([int(rows[-1]) for rows in spans]).to(self.device)]

    def next_states(self, branches: Sequence[Branch]) -> tuple[Tensor, Tensor]:
        """States [len(branches), H], see `read`, and their logits float32 [len(branches), V] for the next token.

        Raises StampModelError if those are not numbers; names the dialogue.
        """
        states = self.read(branches)
        with torch.no_grad():
            logits: Tensor = self.model.lm_head(states).float()
        _check_numbers("text", [branch.reply for branch in branches], logits)
        return states, logits

    def answers(self, options: GenerationOptions) -> Iterator[Event]:
        """Decode all replies to their ends, then draw their masks; `options` are complete, see `StampGenerator.complete`."""
        yield from self.decode(options)
        self.draw_all(options.mask_tokens)
        for branch in self.branches:
            yield branch.reply.answer()

    def decode(self, options: GenerationOptions) -> Iterator[Event]:
        """The text of all replies, a token each at a time, until the last has ended."""
        going = [branch for branch in self.branches if branch.reply.finish is None]
        penalty = options.repetition_penalty or 1.0
        while going:
            replies = [branch.reply for branch in going]
            states, logits = self.next_states(going)
            yield from self._draw_at_once(going, options.mask_tokens)
            seen = [{*reply.opening, *reply.ids} for reply in replies] if penalty != 1 else []
            draws = [reply.random.random() for reply in replies]
            tokens = choose(penalise(logits, seen, penalty), draws, options.temperature, options.top_p)
            for number, (branch, token) in enumerate(zip(going, tokens, strict=True)):
                if branch.reply.finish is not None:
                    continue  # what was put into it has filled its room
                if token == self.chat.seg_id:
                    branch.states[len(branch.reply.ids) - 1] = states[number].clone()
                yield from branch.reply.events(branch.reply.take(token))
            yield from self._draw_at_once(going, options.mask_tokens)
            going = [branch for branch in going if branch.reply.finish is None]

    def _draw_at_once(self, branches: Sequence[Branch], most: int) -> Iterator[Event]:
        """The masks that these have just said, as events, where the method does not wait for the end."""
        if self.model.method.over_cache:
            return
        wanted = [(branch, at) for branch, at in self._undrawn(branches) if branch.can_draw(at, True)]
        self._draw_in_portions(wanted, most)
        for branch, at in wanted:
            reply = branch.reply
            yield Event(reply.image, reply.prompt, "mask", mask=reply.masks[at])

    def draw_all(self, most: int) -> None:
        """All masks that are still to be drawn, in as few passes of at most so many of their tokens as it takes."""
        # The last token of an answer has been decoded but not read; most masks need their own <|seg|> in the cache, or at
        # least what is before it, which an answer that was only begun has not either.
        at_once = not self.model.method.over_cache
        wanted = self._undrawn(self.branches)
        unread = list(dict.fromkeys(branch for branch, at in wanted if not branch.can_draw(at, at_once)))
        if unread:
            self.read(unread)
        self._draw_in_portions(self._undrawn(self.branches), most)

    def _undrawn(self, branches: Sequence[Branch]) -> list[Wanted]:
        return [(branch, at) for branch in branches for at in branch.reply.segs if at not in branch.reply.masks]

    def _draw_in_portions(self, wanted: Sequence[Wanted], most: int) -> None:
        settings = self.model.method.settings

        def tokens(one: Wanted) -> int:
            branch, _ = one
            again = branch.document.length + len(branch.reply.ids) if settings.looks_ahead else 0
            return int(settings.tokens_per_mask(branch.document.patches)) + again

        for portion in portions(wanted, tokens, most):
            for _ in in_halves(portion, self.draw):
                pass

    @torch.no_grad()
    def draw(self, wanted: Sequence[Wanted]) -> Iterable[Reply]:
        """Some masks, put into their replies, which come back.

        Raises StampModelError if their logits are not numbers; names the dialogue.
        """
        pictures = self.model.method.draw(self, [branch.seg(at) for branch, at in wanted])
        for (branch, at), picture in zip(wanted, pictures, strict=True):
            _check_numbers("mask", [branch.reply], picture.flatten()[None])
            branch.reply.masks[at] = picture
        return [branch.reply for branch, _ in wanted]

    def sequence(self) -> TokenSequence:
        """See `methods.contract.Drawing`, as for all that follows."""
        return TokenSequence(self.chat)

    def run_over_cache(self, sequence: TokenSequence) -> tuple[StampInputs, Tensor]:
        inputs = sequence.inputs().to(self.device)
        return inputs, self._run(inputs, self._over_cache(sequence.structure()), ReadOnlyCache(self.cache))

    def run_alone(self, sequence: TokenSequence) -> tuple[StampInputs, Tensor]:
        inputs = sequence.inputs().to(self.device)
        return inputs, self._run(inputs, self._first(inputs.structure), None)

    def keep(self, sequence: TokenSequence) -> Tensor:
        structure = sequence.structure()
        plan = self._over_cache(structure) if len(self.cache) else self._first(structure)
        states = self._run(sequence.inputs().to(self.device), plan, self.cache)
        self.cache.commit(structure)
        return states

    def read_out(
        self, masks: Sequence[MaskPlace], states: Tensor, feature_rows: Tensor | None = None
    ) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.model.read_out(masks, states, self.features, feature_rows)
        return found

    def _over_cache(self, structure: AttentionStructure) -> AttentionPlan:
        return CachedPlan(structure, join([self.cache.structure, structure]), self.device)

    def _first(self, structure: AttentionStructure) -> AttentionPlan:
        """With nothing before it."""
        return make_plan(structure.to(self.device), self.attention, self.model.dtype)

    def _run(self, inputs: StampInputs, plan: AttentionPlan, cache: KeyValues | ReadOnlyCache | None) -> Tensor:
        """Final states [L, H]."""
        found: Tensor = self.model.run_language(inputs, self.features, plan, cache).last_hidden_state[0]
        return found


def _check_numbers(kind: str, replies: Sequence[Reply], logits: Tensor) -> None:
    broken = logits.isnan().any(-1).tolist()
    if any(broken):
        raise StampModelError(
            f"{kind} logits are not numbers",
            where=replies[broken.index(True)].name,
            fix="check the checkpoint's weights, and its precision: float16 overflows where bfloat16 does not",
        )
