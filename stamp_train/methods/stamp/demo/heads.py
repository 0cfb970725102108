"""STAMP's heads with the demo's help: told words of place, read a layer early, beside a layer that names patches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from stamp_train.methods.readout import Readout
from stamp_train.methods.stamp.heads import FineHead, PatchHead
from stamp_train.methods.stamp.settings import Demo
from stamp_train.sequence.document import Grid
from stamp_train.sequence.inputs import MaskPlace, Reading

if TYPE_CHECKING:
    from stamp_train.methods.stamp.settings import StampSettings

_WAVES = 4  # sines and cosines per axis; the image is a quarter of the slowest's length


class _Helped(Readout):
    """What is read beside a head's own logits: `names` [4 N, names] of all patches of the tower, `early` like `mask`."""

    names: int
    head_words: int
    namer: nn.Module
    places: WordsOfPlace

    def help(self, hidden_size: int, vision_size: int, settings: StampSettings) -> None:
        """Add the layers that the settings ask for."""
        demo = settings.demo or Demo()
        self.head_words, self.names = demo.head_words, len(demo.names)
        if self.head_words:
            self.places = WordsOfPlace(hidden_size, settings.head_width)
        if self.names:
            self.namer = nn.Sequential(nn.LayerNorm(vision_size), nn.Linear(vision_size, self.names))

    def forward(self, reading: Reading) -> dict[str, Tensor]:
        """See the class's text."""
        found = {"mask": self.told_logits(reading, reading.states)}
        if reading.earlier is not None:
            found["early"] = self.told_logits(reading, reading.language.norm(reading.earlier))
        if self.names:
            found["names"] = self.namer(reading.features.patches.flatten(0, 1))
        return found

    def told_logits(self, reading: Reading, states: Tensor) -> Tensor:
        """Logits of states, and what the words say of the place."""
        logits: Tensor = self.logits(reading, states)  # type: ignore[operator]  # of the head that this is mixed into
        if not self.head_words:
            return logits
        words = mean_words(reading.language.embed_tokens, reading.masks, self.head_words)
        told: Tensor = self.places(words, [mask.grid for mask in reading.masks])
        return logits + told


class HelpedFine(_Helped, FineHead):
    """The fine head with the demo's help."""

    def __init__(self, hidden_size: int, vision_size: int, settings: StampSettings) -> None:
        FineHead.__init__(self, hidden_size, vision_size, settings)
        self.help(hidden_size, vision_size, settings)


class HelpedPatch(_Helped, PatchHead):  # type: ignore[misc]  # its `forward` is a readout's, not a linear map's
    """The patch head with the demo's help; it is told no words."""

    def __init__(self, hidden_size: int, vision_size: int, settings: StampSettings) -> None:
        PatchHead.__init__(self, hidden_size, vision_size, settings)
        self.help(hidden_size, vision_size, settings)


HELPED: dict[str, type[HelpedFine] | type[HelpedPatch]] = {"fine": HelpedFine, "patch": HelpedPatch}


def mean_words(table: Any, masks: Sequence[MaskPlace], most: int) -> Tensor:
    """Mean embeddings [masks, H] of the last tokens before each `<|seg|>`; zero where there are none."""
    said = [list(mask.seg.ids[max(mask.seg.at - most, 0) : mask.seg.at]) for mask in masks]
    ids = torch.tensor([token for words in said for token in words], dtype=torch.int64)
    found: Tensor = table(ids.to(table.weight.device))
    if not said:
        return found  # of no words, but of the table: sharded training wants every weight to take part
    parts = torch.split(found, [len(words) for words in said])
    return torch.stack([part.sum(0) / max(len(part), 1) for part in parts])


class WordsOfPlace(nn.Module):
    """Where words lead: "left" to the left, whatever is sought. A product of the words and of each patch's place.

    Rotary positions say only how far apart two tokens are, so that a network has to find out where a patch lies, and to
    bring the right word to it, before that word can be of any use; small ones never do (docs/benchmarks/model.md).
    """

    def __init__(self, hidden_size: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size)
        self.query = nn.Linear(hidden_size, width)
        self.place = nn.Linear(4 * _WAVES, width, bias=False)

    def forward(self, words: Tensor, grids: Sequence[Grid]) -> Tensor:
        """Logits [M, 1] to add to every mask token's, from the mean embeddings [masks, H] of words."""
        sizes = torch.tensor([height * width for height, width in grids], dtype=torch.int64)
        waves = [torch.zeros(0, 4 * _WAVES), *map(_waves, grids)]
        queries = self.query(self.norm(words)).repeat_interleave(sizes.to(words.device), dim=0)
        logits: Tensor = (queries * self.place(torch.cat(waves).to(words))).sum(-1, keepdim=True)
        return logits


@lru_cache(maxsize=256)
def _waves(grid: Grid) -> Tensor:
    """Places of patches, row by row, as waves over the image: [h * w, 4 * _WAVES]."""
    rows, columns = ((torch.arange(count) + 0.5) / count for count in grid)
    angles = torch.cartesian_prod(rows, columns)[:, :, None] * (torch.pi / 2 * torch.arange(1, _WAVES + 1))
    return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)
