"""What generation keeps in memory: keys and values of all it has read, and what to do when there is not enough room.

The cache of a batch is one flat sequence, like a packed training sequence that grows at its end: the prefix of an image
is in it once, however many dialogues go on from it, and nothing is padded. Who sees what follows from the structure.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from stamp_train.attention import AttentionPlan
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.structure import AttentionStructure, visible

logger = logging.getLogger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory")  # torch's words, on devices without an exception for it


def join(parts: Sequence[AttentionStructure]) -> AttentionStructure:
    """Structures one after another."""
    return AttentionStructure(*(torch.cat(facts) for facts in zip(*(part.facts() for part in parts), strict=True)))


class KeyValues:
    """Keys and values [1, H_kv, L, D] of every layer, as transformers' attention layers update them.

    A forward pass writes behind the end; only `commit` moves the end. A pass that fails half-way leaves no trace.
    """

    def __init__(self) -> None:
        self.structure = AttentionStructure.nothing()
        self._layers: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.structure)

    def update(self, key: Tensor, value: Tensor, layer_idx: int, **_: Any) -> tuple[Tensor, Tensor]:
        """Write new keys and values [1, H_kv, n, D] of a layer; all of them [1, H_kv, L + n, D] come back."""
        start, end = len(self), len(self) + key.shape[2]
        held = self._layers.get(layer_idx)
        if held is None or held[0].shape[2] < end:
            held = (self._larger(key, held and held[0], end), self._larger(value, held and held[1], end))
            self._layers[layer_idx] = held
        for buffer, new in zip(held, (key, value), strict=True):
            buffer[:, :, start:end] = new
        return held[0][:, :, :end], held[1][:, :, :end]

    def _larger(self, like: Tensor, old: Tensor | None, least: int) -> Tensor:
        """A buffer with room to grow, so that not every token copies all that is there."""
        buffer = like.new_empty(*like.shape[:2], least + least // 8 + 64, like.shape[3])
        if old is not None:
            buffer[:, :, : len(self)] = old[:, :, : len(self)]
        return buffer

    def commit(self, structure: AttentionStructure) -> None:
        """Keep what the last pass wrote; `structure` says what it is (on the CPU)."""
        self.structure = join([self.structure, structure])

    def cut(self, length: int) -> None:
        """Keep only the first so many tokens."""
        self.structure = self.structure[:length]

    def read(self, layer_idx: int) -> tuple[Tensor, Tensor]:
        """The kept keys and values of a layer."""
        key, value = self._layers[layer_idx]
        return key[:, :, : len(self)], value[:, :, : len(self)]


class ReadOnlyCache:
    """A cache seen by tokens that leave nothing in it: mask blocks, which no later token may see."""

    def __init__(self, cache: KeyValues) -> None:
        self._cache = cache

    def update(self, key: Tensor, value: Tensor, layer_idx: int, **_: Any) -> tuple[Tensor, Tensor]:
        """As `KeyValues.update`; one layer's joined copy lives at a time."""
        keys, values = self._cache.read(layer_idx)
        return torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2)


@dataclass(frozen=True)
class _Call:
    """One SDPA call for G groups: rows of queries [G, Q] and of keys [G, K], padded with -1, and mask [G, 1, Q, K].

    None for the keys means all, in order; None for the mask that every query sees all its keys.
    """

    query: Tensor
    key: Tensor | None
    mask: Tensor | None

    def to(self, device: torch.device | str) -> _Call:
        key, mask = (None if part is None else part.to(device) for part in (self.key, self.mask))
        return _Call(self.query.to(device), key, mask)


class CachedPlan(AttentionPlan):
    """New tokens against a cache and themselves: one call for all text, one without any mask for each mask block.

    Text tokens are grouped by document, so a decoding step reads each document's keys once, for all its dialogues. query, key:
    structures of the new tokens, and of the cache followed by them, both on the CPU. device: where attention is computed.
    """

    name = "cached"

    def __init__(self, query: AttentionStructure, key: AttentionStructure, device: torch.device | str) -> None:
        text = (query.block == 0).nonzero()[:, 0]
        blocks = [(query.block == block).nonzero()[:, 0] for block in _values(query.block) if block]
        calls = [_text_call(query, key, text)] if len(text) else []
        calls += [_block_call(query, key, rows) for rows in blocks]
        self.calls = [call.to(device) for call in calls]
        # Where each query's output is when those of all calls are laid end to end; padding is nobody's.
        rows = torch.cat([call.query.flatten() for call in self.calls])
        places = (rows >= 0).nonzero()[:, 0]
        self.back = places[rows[places].argsort()]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """See `AttentionPlan.attend`; batch size 1."""
        heads, kv_heads = query.shape[1], key.shape[1]
        outputs = []
        for call in self.calls:
            groups, length = call.query.shape
            # Key-value heads join the batch and are broadcast over their group of query heads, never copied for it.
            q = query[0][:, call.query].reshape(kv_heads, -1, groups, length, query.shape[3])
            q = q.permute(2, 0, 1, 3, 4).flatten(0, 1)
            k, v = (_pick(states[0], call.key).expand(-1, q.shape[1], -1, -1) for states in (key, value))
            mask = None if call.mask is None else call.mask.repeat_interleave(kv_heads, dim=0)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
            out = out.reshape(groups, heads, length, -1).transpose(0, 1)
            outputs.append(out.reshape(heads, groups * length, -1))
        return torch.cat(outputs, dim=1)[:, self.back][None]


def _pick(states: Tensor, rows: Tensor | None) -> Tensor:
    """Rows [G, K] of keys or values [H_kv, L, D] as [G * H_kv, 1, K, D]."""
    picked = states[:, None] if rows is None else states[:, rows]
    return picked.transpose(0, 1).flatten(0, 1)[:, None]


def _values(fact: Tensor) -> list[int]:
    return sorted(set(fact.tolist()))


def _block_call(query: AttentionStructure, key: AttentionStructure, rows: Tensor) -> _Call:
    """The call for a mask block, whose tokens all see the same: the structure gives them the same facts."""
    seen = visible(query[rows[:1]], key)[0]
    return _Call(rows[None], None if seen.all() else seen.nonzero()[None, :, 0], None)


def _text_call(query: AttentionStructure, key: AttentionStructure, text: Tensor) -> _Call:
    """The call for all text, a group for each document."""
    groups, keys, masks = [], [], []
    for document in _values(query.document[text]):
        rows = text[query.document[text] == document]
        near = (key.document == document).nonzero()[:, 0]
        seen = visible(query[rows], key[near])
        used = seen.any(0)
        groups.append(rows)
        keys.append(near[used])
        masks.append(seen[:, used])
    if len(groups) == 1:
        all_keys, no_mask = len(keys[0]) == len(key), bool(masks[0].all())
        return _Call(groups[0][None], None if all_keys else keys[0][None], None if no_mask else masks[0][None, None])
    # Padded queries see everything: with nothing to see, softmax would divide by zero.
    mask = torch.ones(len(groups), 1, max(map(len, groups)), max(map(len, keys)), dtype=torch.bool)
    for number, seen in enumerate(masks):
        mask[number, 0, : len(seen)] = False
        mask[number, 0, : len(seen), : seen.shape[1]] = seen
    return _Call(_pad(groups), _pad(keys), mask)


def _pad(rows: Sequence[Tensor]) -> Tensor:
    return pad_sequence(list(rows), batch_first=True, padding_value=-1)


def portions(items: Iterable[Item], size: Callable[[Item], int], most: int) -> list[list[Item]]:
    """Items in order, in lists of at most so much size; an item that is larger has a list of its own."""
    found: list[list[Item]] = []
    room = 0
    for item in items:
        if not found or size(item) > room:
            found.append([])
            room = most
        found[-1].append(item)
        room -= size(item)
    return found


def in_halves(
    items: Sequence[Item], work: Callable[[Sequence[Item]], Iterable[Result]], name: Callable[[Item], str] | None = None
) -> Iterator[Result]:
    """Do work on a batch; when memory runs out, halve the batch, say so, and go on.

    work: called with all items or, after a failure, with each half; must skip what it has already done; what it gives is
    yielded. name: what an item is called in messages. StampModelError names a single item that does not fit; without `name`
    that is torch's own RuntimeError: the caller has something left to try.
    """
    try:
        yield from work(items)
        return
    except RuntimeError as error:
        if not any(words in str(error) for words in _OUT_OF_MEMORY) and not isinstance(error, torch.OutOfMemoryError):
            raise
        if len(items) == 1:
            if name is None:
                raise
            fix = "Lower the image's token bound, max_new_tokens or mask_tokens, or use a larger device"
            raise StampModelError("out of memory with this alone", where=name(items[0]), fix=fix) from error
    # Beyond the except clause, so that the failed pass and its tensors are no longer held by the error.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = (len(items) + 1) // 2
    logger.warning("out of memory with a batch of %d; going on with %d", len(items), middle)
    for half in (items[:middle], items[middle:]):
        yield from in_halves(half, work, name)
