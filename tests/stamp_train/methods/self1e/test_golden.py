"""Readout, labels and losses, against what the published code computes on a tiny SELF1E."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from stamp_schemas.record import FULL, IGNORE
from stamp_train.methods.losses import text_loss
from stamp_train.methods.mask_losses import mask_losses
from stamp_train.methods.self1e.method import Self1e, resized
from stamp_train.methods.self1e.readout import Planes, Self1eHead, unshuffle
from stamp_train.methods.self1e.settings import Self1eSettings
from stamp_train.sequence.document import Document, Seg
from stamp_train.sequence.inputs import ImageFeatures, MaskPlace, Outputs, Reading, Targets
from stamp_train.sequence.structure import visible
from stamp_train.sequence.token_sequence import TokenSequence

from ..making import packed, record, tiny

GOLDEN = Path(__file__).parents[3] / "data/golden/self1e"
FACTS = json.loads((GOLDEN / "self1e.json").read_text(encoding="utf-8"))
NUMBERS = np.load(GOLDEN / "self1e.npz")
WEIGHTS = load_file(GOLDEN / "weights.safetensors")
RENAMED = {"combine_decode_proj_all": "states", "combine_decode_proj_ori": "features", "combine_decode_proj": "last"}
GRID, SEQUENCES = (4, 4), 4


def theirs(name: str) -> Tensor:
    return torch.from_numpy(NUMBERS[name])


class Merger(nn.Module):
    """Theirs normalises four patches together, after they are joined."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp1 = nn.Sequential(nn.LayerNorm(64), nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 32))

    def forward(self, patches: Tensor) -> Tensor:
        merged: Tensor = self.mlp1(patches.reshape(-1, 64))
        return merged


def by_merged_patch(tokens: Tensor, grid: tuple[int, int] = GRID) -> Tensor:
    """[images, 2h * 2w, C], row by row, as the tower of Qwen2-VL has them: [images, h * w, 4, C]."""
    height, width = grid
    cells = tokens.reshape(len(tokens), height, 2, width, 2, -1)
    return cells.transpose(2, 3).reshape(len(tokens), height * width, 4, -1)


@pytest.fixture(scope="module")
def merger() -> Merger:
    made = Merger()
    made.load_state_dict({name: value for name, value in WEIGHTS.items() if name.startswith("mlp1")})
    return made


@pytest.fixture(scope="module")
def head() -> Self1eHead:
    made = Self1eHead(32, shared=True)
    named = {name: name.partition(".") for name in WEIGHTS}
    made.load_state_dict(
        {f"{RENAMED[first]}.{rest}": WEIGHTS[name] for name, (first, _, rest) in named.items() if first in RENAMED}
    )
    return made


@pytest.fixture(scope="module")
def read(head: Self1eHead, merger: Merger) -> Outputs:
    """What the head finds in their states."""
    ids, last = theirs("in/input_ids"), theirs("mid/last_hidden")
    states, masks = [], []
    for row in range(SEQUENCES):
        document = Document(row + 1, (1, 2, 3), GRID, row, 16 * row)
        for at in (ids[row] == FACTS["seg_id"]).nonzero()[:, 0].tolist():
            states += [last[row, at - 1 : at], last[row, ids[row] == FACTS["img_id"]]]
            masks.append(MaskPlace(Seg(f"sequence {row}", document, 1, (), 0), 17))
    features = ImageFeatures(theirs("mid/V1").flatten(0, 1), by_merged_patch(theirs("mid/vit_tokens")).flatten(0, 1))
    joined = torch.cat(states)
    reading = Reading(joined, torch.full((len(joined),), -1), tuple(masks), features, merger)
    with torch.no_grad():
        return Outputs(theirs("mid/logits"), head(reading), tuple(masks), "none")


@pytest.mark.parametrize("row", range(SEQUENCES))
def test_published_attention_is_that_of_the_published_code(row: int) -> None:
    """But for one column: theirs takes the id 0 for padding wherever it stands, and hides a word of the fourth sequence."""
    ids = theirs("in/input_ids")[row].tolist()
    length = 1 + max(at for at, token in enumerate(ids) if token != FACTS["pad_id"])
    image = ids.index(FACTS["img_id"])
    end = image + 16 + 1
    looks_for = FACTS["seg_id"] if FACTS["seg_id"] in ids else -1
    document = Document(1, (*ids[: image + 1], ids[end - 1]), GRID, looks_for=looks_for)
    sequence = TokenSequence(tiny("self1e").chat)
    sequence.put(document.prefix())
    sequence.put(document.text(ids[end:length], 1))
    structure = sequence.structure()
    found, allowed = visible(structure, structure), theirs("in/allowed")[row, :length, :length].clone()
    hidden = [at for at in range(length) if ids[at] == 0]
    assert hidden == ([18] if row == 3 else [])
    assert not (allowed & ~torch.eye(length, dtype=torch.bool))[:, hidden].any()
    found[:, hidden] = allowed[:, hidden]
    assert torch.equal(found, allowed)
    assert torch.equal(found, theirs("in/allowed_without_seg_rule")[row, :length, :length]) == (looks_for < 0)


def test_unshuffle_is_the_published_one_on_squares_and_undoes_the_merge_on_all_grids() -> None:
    merged = theirs("unshuffle_square/in")
    assert torch.equal(unshuffle(merged.flatten(1, 2), (6, 6)), theirs("unshuffle_square/out"))
    cells = theirs("shuffle_wide/in")  # 6 x 10 cells of 8 channels; their own way back scrambles them
    tokens = by_merged_patch(cells.flatten(1, 2), (3, 5)).flatten(2)
    assert torch.equal(unshuffle(tokens, (3, 5)), cells)
    wide = theirs("unshuffle_wide/in")
    assert not torch.equal(unshuffle(wide.flatten(1, 2), (6, 10)), theirs("unshuffle_wide/out").transpose(1, 2))


def test_replicated_features_are_those_of_the_published_code(merger: Merger) -> None:
    patches = by_merged_patch(theirs("mid/vit_tokens")).flatten(0, 2)
    with torch.no_grad():
        replicated = merger(patches.repeat_interleave(4, dim=0))
        merged = merger(patches)
    torch.testing.assert_close(merged, theirs("mid/V1").flatten(0, 1), atol=1e-5, rtol=0)
    wanted = by_merged_patch(theirs("mid/HQ")).flatten(0, 2)
    torch.testing.assert_close(replicated, wanted, atol=1e-5, rtol=0)
    assert torch.equal(theirs("replicate/in").repeat(1, 1, 4), theirs("replicate/out"))


def test_masks_are_those_of_the_published_code(read: Outputs) -> None:
    found = Self1e(Self1eSettings()).pictures(read.read, read.masks)
    wanted = torch.cat([theirs(f"out/pred_{row}") for row in (0, 1, 3)])
    torch.testing.assert_close(torch.stack(found), wanted, atol=1e-4, rtol=0)


def test_masks_of_a_picture_of_several_tiles_are_those_of_the_published_code(head: Self1eHead) -> None:
    """Its tiles, joined to one picture, are what a picture of that size is here; V1 and HQ are given tile by tile."""

    def joined(name: str, side: int) -> Tensor:
        """Four tiles [4, side * side, C], row by row, as one picture [2 side, 2 side, C]."""
        tiles = theirs(name).reshape(2, 2, side, side, -1)
        return tiles.transpose(1, 2).reshape(2 * side, 2 * side, -1)

    ids, last = theirs("tiles_2x2/input_ids")[0], theirs("tiles_2x2/last_hidden")[0]
    image = last[ids == FACTS["img_id"]].reshape(2, 2, 4, 4, -1).transpose(1, 2).reshape(64, -1)
    [at] = (ids == FACTS["seg_id"]).nonzero()[:, 0].tolist()
    with torch.no_grad():
        merged = unshuffle(head.features(joined("tiles_2x2/V1", 4).flatten(0, 1)), (8, 8))
        replicated = unshuffle(head.features(joined("tiles_2x2/HQ", 8).flatten(0, 1)), (16, 16))
        found, _ = head.logits(torch.cat([last[at - 1 : at], image])[None], Planes(merged, replicated), (8, 8))
    torch.testing.assert_close(found, theirs("tiles_2x2/pred"), atol=1e-4, rtol=0)


def test_losses_are_those_of_the_published_code(read: Outputs) -> None:
    """They divide by sequences, of which one has no mask and one has two; the sums are the same."""
    labels, sizes = [], []
    for row in (0, 1, 3):
        for mask in theirs(f"in/gt_{row}"):
            scale = min(1.0, 128 / min(mask.shape))
            size = (int(mask.shape[0] * scale), int(mask.shape[1] * scale))
            labels.append(FULL * F.interpolate(mask[None, None].float(), size=size, mode="bilinear").flatten())
            sizes.append(size)
    counts = torch.tensor([len(label) for label in labels])
    wanted = theirs("in/labels")[:, 1:].flatten()
    taken = wanted != -100
    mask_of = torch.arange(len(labels)).repeat_interleave(counts)
    of_text = (wanted[taken], torch.ones(int(taken.sum())))
    targets = Targets(*of_text, torch.cat(labels)[:, None], mask_of, len(labels), sizes=tuple(sizes))
    outputs = Outputs(read.text_logits[:, :-1].flatten(0, 1)[taken], read.read, read.masks, "none")
    settings = Self1eSettings()
    found = Self1e(settings).losses(outputs, targets)
    assert float(found["text"][0] / found["text"][1]) == pytest.approx(FACTS["losses"]["ce_loss"], abs=1e-4)
    bce, dice = (float(found[name][0]) / SEQUENCES for name in ("bce", "dice"))
    assert bce == pytest.approx(settings.bce * FACTS["losses"]["mask_bce_loss"], abs=1e-4)
    assert dice == pytest.approx(settings.dice * FACTS["losses"]["mask_dice_loss"], abs=1e-4)
    assert bce + dice == pytest.approx(FACTS["losses"]["mask_loss"], abs=1e-4)
    assert torch.equal(text_loss(outputs.text_logits, *of_text), found["text"][0])


def test_each_masks_losses_are_those_of_the_published_code() -> None:
    logits, wanted = theirs("loss/logits"), theirs("loss/target")
    none, cells = torch.zeros(0), wanted[0].numel()
    of = torch.arange(3).repeat_interleave(cells)
    bce, dice = mask_losses(logits.flatten(), Targets(none, none, FULL * wanted.reshape(-1, 1), of, 3))
    torch.testing.assert_close(bce, theirs("loss/bce_each"), atol=1e-6, rtol=0)
    torch.testing.assert_close(dice, theirs("loss/dice_each"), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("row", "size"), [(0, (128, 170)), (1, (90, 300)), (3, (112, 112))])
def test_labels_are_masks_resized_as_published(row: int, size: tuple[int, int]) -> None:
    mask = NUMBERS[f"in/gt_{row}"][0]
    of = record([("<|seg|>",)])
    of.targets[0].rle = packed(mask)
    wanted = F.interpolate(torch.from_numpy(mask)[None, None].float(), size=size, mode="bilinear")[0, 0]
    found = resized(of, 0)
    assert found.shape == size and found.dtype == np.uint8
    torch.testing.assert_close(torch.from_numpy(found) / FULL, wanted, atol=0.5 / FULL + 1e-6, rtol=0)
    of.targets[0].ignore_rle = packed(1 - mask)
    ignored = resized(of, 0)
    assert np.array_equal(ignored == IGNORE, wanted.numpy() < 1) and (ignored[ignored != IGNORE] == FULL).all()
