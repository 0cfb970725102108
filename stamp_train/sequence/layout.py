"""From dialogues to one packed sequence: tokens, positions, targets and the structure that attention derives from.

    [image prefix] [dialogue 1] [mask block(s) 1] ... [dialogue k] [mask block(s) k] [next image's prefix] ...

Dialogues of one image that begin alike share the prefix up to the end of the image; mask blocks follow the text of their
dialogue. This module is the only one that knows the order of a sequence. What a token may attend to is decided by
`stamp_train.sequence.structure`, from the facts written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stamp_train.methods.stamp.heads import Grid, grid_to_patches
from stamp_train.sequence.chat import ChatEncoder, EncodedDialogue
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.examples import TEXT_LABELS, DialogueExample, ImageExample, LayoutOptions, PackedBatch
from stamp_train.sequence.inputs import MaskBlock, StampInputs, Targets
from stamp_train.sequence.structure import AttentionStructure

__all__ = ["TEXT_LABELS", "DialogueExample", "ImageExample", "Layout", "LayoutOptions", "PackedBatch"]

Ints = NDArray[np.int64]


class Layout:
    """Lays out dialogues for one tokenizer.

    Args:
        chat: encoder of the checkpoint's tokenizer.
        options: how.
    """

    def __init__(self, chat: ChatEncoder, options: LayoutOptions | None = None) -> None:
        self.chat = chat
        self.options = options or LayoutOptions()

    def __call__(self, images: Sequence[ImageExample]) -> PackedBatch:
        """Pack images and text-only dialogues into one sequence.

        Raises:
            StampModelError: names the dialogue and what is wrong with it: a grid that disagrees with pixel values or
                coverage, pixel values that are not finite, a `<|seg|>` without coverage or the reverse, positions past
                the model's range, or a first turn longer than `max_tokens`.
        """
        sequence = _Sequence(self.chat, self.options)
        for image in images:
            image.check()
            sequence.image(image)
        if not sequence.length:
            raise StampModelError("nothing to lay out", fix="pass at least one image with a dialogue")
        return sequence.finish()


@dataclass
class _Branch:
    """A dialogue after its prefix: ids from the first token that it does not share."""

    example: DialogueExample
    ids: list[int]
    answer: list[bool]


@dataclass
class _Prefix:
    """The shared beginning of a document, image placeholders repeated for every patch."""

    ids: Ints
    positions: Ints
    features: Ints
    next_position: int


@dataclass
class _Sequence:
    """A sequence in the making; columns grow by whole stretches of tokens."""

    chat: ChatEncoder
    options: LayoutOptions
    length: int = 0
    columns: dict[str, list[Ints]] = field(
        default_factory=lambda: {
            name: [] for name in ("ids", "positions", "document", "branch", "block", "order", "features")
        }
    )
    text_rows: list[int] = field(default_factory=list)
    text_ids: list[int] = field(default_factory=list)
    text_weights: list[float] = field(default_factory=list)
    mask_rows: list[Ints] = field(default_factory=list)
    coverage: list[Tensor] = field(default_factory=list)
    blocks: list[MaskBlock] = field(default_factory=list)
    pixel_values: list[Tensor] = field(default_factory=list)
    grids: list[tuple[int, int, int]] = field(default_factory=list)
    named: list[Tensor] = field(default_factory=list)
    features: int = 0
    documents: int = 0
    names: list[str] = field(default_factory=list)
    truncated: list[str] = field(default_factory=list)

    def image(self, image: ImageExample) -> None:
        """One image: its dialogues, grouped into documents by the prefix they share."""
        grid = None if image.grid_thw is None else (image.grid_thw[1] // 2, image.grid_thw[2] // 2)
        groups: dict[tuple[int, ...], list[_Branch]] = {}
        for number, example in enumerate(image.dialogues):
            encoded = self.chat.encode(example.messages, name=example.name)
            if (encoded.image_at is None) != (grid is None):
                raise StampModelError(
                    "messages and pixels disagree on whether there is an image",
                    where=example.name,
                    fix="put exactly one image item into the messages of a dialogue about an image",
                )
            encoded = self.fit(example, encoded, grid)
            # Text-only dialogues share nothing: each is a document of its own.
            start = 0 if encoded.image_at is None else encoded.image_at + 2
            key = tuple(encoded.ids[:start]) if start else (-1 - number,)
            groups.setdefault(key, []).append(_Branch(example, encoded.ids[start:], encoded.answer[start:]))
        for key, branches in groups.items():
            self.document(list(key) if grid else [], branches, grid)
        if image.pixel_values is not None and image.grid_thw is not None and grid is not None:
            self.pixel_values.append(image.pixel_values)
            self.grids.append(image.grid_thw)
            if image.names is not None:
                self.named.append(image.names)
            self.features += grid[0] * grid[1]

    def fit(self, example: DialogueExample, encoded: EncodedDialogue, grid: Grid | None) -> EncodedDialogue:
        """Cut a dialogue that is too long after its last turn that fits, never within one."""
        limit = self.options.max_tokens
        patches = grid[0] * grid[1] if grid else 0

        def size(end: int) -> int:
            extra = patches - 1 if encoded.image_at is not None else 0
            return end + extra + encoded.ids[:end].count(self.chat.seg_id) * patches

        if limit is None or size(len(encoded.ids)) <= limit:
            return encoded
        fitting = [end for end in encoded.turn_ends if size(end) <= limit]
        if not fitting or (encoded.image_at is not None and fitting[-1] <= encoded.image_at):
            raise StampModelError(
                f"its first turn takes {size(encoded.turn_ends[0] if encoded.turn_ends else len(encoded.ids))} tokens, "
                f"more than max_tokens={limit}",
                where=example.name,
                fix="raise max_tokens or lower the image's token bound; images and mask blocks are never cut",
            )
        self.truncated.append(example.name)
        end = fitting[-1]
        return replace(encoded, ids=encoded.ids[:end], answer=encoded.answer[:end])

    def document(self, shared: list[int], branches: list[_Branch], grid: Grid | None) -> None:
        """A prefix and its branches."""
        self.documents += 1
        prefix = self.prefix(shared, grid)
        start = self.length
        count = len(prefix.ids)
        self.put(prefix.ids, prefix.positions, 0, 0, np.arange(count), prefix.features)
        if self.options.text_labels == "all":
            self.supervise(np.arange(start, start + count - 1), prefix.ids[1:], float(len(branches)))
        for number, branch in enumerate(branches, start=1):
            self.branch(number, branch, prefix, start, grid)

    def prefix(self, shared: list[int], grid: Grid | None) -> _Prefix:
        """Ids and positions of a prefix whose last two tokens are the image placeholder and the end of the image."""
        if grid is None:
            return _Prefix(np.zeros(0, np.int64), np.zeros((3, 0), np.int64), np.zeros(0, np.int64), 0)
        before, patches = len(shared) - 2, grid[0] * grid[1]
        after = before + max(grid)
        ids = np.array([*shared[:-2], *[shared[-2]] * patches, shared[-1]], np.int64)
        positions = np.concatenate(
            [np.tile(np.arange(before), (3, 1)), before + _grid_axes(grid), np.full((3, 1), after)], axis=1
        )
        features = np.full(len(ids), -1, np.int64)
        features[before : before + patches] = self.features + np.arange(patches)
        return _Prefix(ids, positions, features, after + 1)

    def branch(self, number: int, branch: _Branch, prefix: _Prefix, prefix_row: int, grid: Grid | None) -> None:
        """The text of a dialogue, then a mask block for each `<|seg|>` in it."""
        example = branch.example
        self.names.append(example.name)
        ids = np.array(branch.ids, np.int64)
        steps = np.arange(len(ids))
        order, places = len(prefix.ids) + steps, prefix.next_position + steps
        row = self.length
        self.put(ids, np.tile(places, (3, 1)), number, 0, order, np.full(len(ids), -1, np.int64))
        # The first token of a branch is predicted by the last of the prefix, wherever that lies.
        sources = np.concatenate([[prefix_row + len(prefix.ids) - 1], row + steps[:-1]])
        wanted = np.array(branch.answer) if self.options.text_labels == "answers" else np.ones(len(ids), dtype=bool)
        if not len(prefix.ids):
            wanted[0] = False  # nothing comes before the first token of a text-only dialogue
        self.supervise(sources[wanted], ids[wanted], 1.0)
        segs = np.flatnonzero(ids == self.chat.seg_id)
        coverage = self.check_masks(example, len(segs), grid)
        for at, target in zip(segs, coverage, strict=True):
            assert grid is not None  # check_masks refuses a <|seg|> without an image
            words = tuple(branch.ids[max(int(at) - self.options.words, 0) : int(at)])
            self.mask_block(number, example, words, int(order[at]), int(places[at]) + 1, grid, prefix, target)
        self.check_range(example, grid, int(places[-1]), [int(places[at]) for at in segs])

    def check_masks(self, example: DialogueExample, segs: int, grid: Grid | None) -> Sequence[NDArray[np.uint8]]:
        """The coverage of the `<|seg|>` that are there, if everything fits."""
        given = len(example.coverage)
        if segs and grid is None:
            raise StampModelError("<|seg|> in a dialogue without an image", where=example.name)
        if segs != given and not (example.name in self.truncated and segs < given):
            raise StampModelError(
                f"{segs} <|seg|> but {given} targets", where=example.name, fix="give one coverage array per <|seg|>"
            )
        if grid is not None:
            example.check_coverage((grid[0] * self.options.side, grid[1] * self.options.side))
        return example.coverage[:segs]

    def check_range(self, example: DialogueExample, grid: Grid | None, last: int, segs: list[int]) -> None:
        span = 0 if grid is None else (max(grid) if self.options.mask_positions == "grid" else grid[0] * grid[1])
        highest = max([last, *(place + span for place in segs)])
        if highest >= self.options.max_position:
            raise StampModelError(
                f"position {highest} is past the model's range of {self.options.max_position}",
                where=example.name,
                fix="set max_tokens, or lower the image's token bound",
            )

    def mask_block(
        self,
        branch: int,
        example: DialogueExample,
        words: tuple[int, ...],
        order: int,
        position: int,
        grid: Grid,
        prefix: _Prefix,
        target: NDArray[np.uint8],
    ) -> None:
        """One mask token per merged patch, row by row."""
        patches = grid[0] * grid[1]
        axes = _grid_axes(grid) if self.options.mask_positions == "grid" else np.tile(np.arange(patches), (3, 1))
        self.blocks.append(MaskBlock(example.name, len(self.grids), grid, words))
        self.mask_rows.append(self.length + np.arange(patches))
        self.coverage.append(grid_to_patches(torch.from_numpy(np.ascontiguousarray(target)), self.options.side))
        features = prefix.features[prefix.features >= 0]
        ids = np.full(patches, self.chat.mask_id, np.int64)
        self.put(ids, position + axes, branch, len(self.blocks), np.full(patches, order), features)

    def put(self, ids: Ints, positions: Ints, branch: int, block: int, order: Ints, features: Ints) -> None:
        """Append a stretch of tokens."""
        count = len(ids)
        facts = {"document": self.documents, "branch": branch, "block": block}
        stretch = {"ids": ids, "positions": positions, "order": order, "features": features}
        stretch |= {name: np.full(count, value, np.int64) for name, value in facts.items()}
        for name, values in stretch.items():
            self.columns[name].append(values)
        self.length += count

    def supervise(self, rows: Ints, ids: Ints, weight: float) -> None:
        """The tokens `ids` are to be predicted at `rows`."""
        self.text_rows.extend(rows.tolist())
        self.text_ids.extend(ids.tolist())
        self.text_weights.extend([weight] * len(rows))

    def pad(self) -> None:
        """Padding is a document of its own that nobody reads."""
        count = -self.length % self.options.pad_to_multiple
        if count:
            self.documents += 1
            steps = np.arange(count)
            nothing = np.full(count, -1, np.int64)
            self.put(np.zeros(count, np.int64), np.tile(steps, (3, 1)), 1, 0, steps, nothing)

    def finish(self) -> PackedBatch:
        """The columns as tensors."""
        self.pad()
        joined = {name: torch.from_numpy(np.concatenate(parts, axis=-1)) for name, parts in self.columns.items()}
        sizes = torch.tensor([block.size for block in self.blocks], dtype=torch.int64)
        labels = self.options.side**2
        inputs = StampInputs(
            input_ids=joined["ids"][None],
            position_ids=joined["positions"][:, None],
            structure=AttentionStructure(joined["document"], joined["branch"], joined["block"], joined["order"]),
            feature_rows=joined["features"],
            text_rows=torch.tensor(self.text_rows, dtype=torch.int64),
            mask_rows=torch.from_numpy(np.concatenate([np.zeros(0, np.int64), *self.mask_rows])),
            blocks=tuple(self.blocks),
            pixel_values=torch.cat(self.pixel_values) if self.pixel_values else None,
            image_grid_thw=torch.tensor(self.grids, dtype=torch.int64) if self.grids else None,
        )
        targets = Targets(
            text_ids=torch.tensor(self.text_ids, dtype=torch.int64),
            text_weights=torch.tensor(self.text_weights, dtype=torch.float32),
            coverage=torch.cat([torch.zeros(0, labels, dtype=torch.uint8), *self.coverage]),
            mask_of=torch.arange(len(self.blocks)).repeat_interleave(sizes),
            masks=len(self.blocks),
            names=torch.cat([torch.zeros(0, dtype=torch.int64), *self.named]),
        )
        return PackedBatch(inputs, targets, tuple(self.names), tuple(self.truncated))


def _grid_axes(grid: Grid) -> Ints:
    """(time, row, column) of every patch of an image, row by row: [3, h * w]."""
    rows, columns = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    return np.stack([np.zeros_like(rows), rows, columns])
