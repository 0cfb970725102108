"""Both heads, on random states and features."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stamp_train.methods.embedding.dot import DotHead
from stamp_train.methods.embedding.sam import SamHead, cells
from stamp_train.methods.readout import Readout
from stamp_train.sequence.document import Document, Seg
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.inputs import ImageFeatures, MaskPlace, Reading

from .sams import SHAPE, write_sam

STATE, VISION, WIDTH = 24, 12, 8
GRIDS = [(2, 3), (4, 1)]


def made(head: Readout) -> Readout:
    torch.manual_seed(0)
    for weight in head.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return head


def reading(of: list[int], own: tuple[Tensor, ...] = ()) -> Reading:
    """Masks of these images, two dialogues of the same in a document."""
    random = torch.Generator().manual_seed(1)
    sizes = [height * width for height, width in GRIDS]
    documents = [Document(n + 1, (1, 2, 3), GRIDS[n], n, sum(sizes[:n])) for n in range(len(GRIDS))]
    masks = tuple(MaskPlace(Seg(f"d{i}", documents[image], 1 + i, (), 0), 1) for i, image in enumerate(of))
    patches = torch.randn(sum(sizes), 4, VISION, generator=random)
    states = torch.randn(4, STATE, generator=random)[: len(of)]
    features = ImageFeatures(patches.new_zeros(sum(sizes), STATE), patches, own=own)
    return Reading(states, torch.full((len(of),), -1), masks, features)


def test_a_cell_is_the_product_of_its_own_quarter_of_a_patch() -> None:
    head = made(DotHead(STATE, VISION, WIDTH))
    given = reading([0, 0, 1])
    found = head(given)["masks"]
    prompts, at = head.state(given.states), 0
    for number, image in enumerate([0, 0, 1]):
        height, width = GRIDS[image]
        first = sum(h * w for h, w in GRIDS[:image])
        for row in range(4 * height):
            for column in range(4 * width):
                patch = given.features.patches[first + (row // 4) * width + column // 4]
                quarter = head.pixels(patch[2 * (row // 2 % 2) + column // 2 % 2]).reshape(4, WIDTH)
                wanted = prompts[number] @ quarter[2 * (row % 2) + column % 2] / WIDTH**0.5
                torch.testing.assert_close(found[at], wanted, atol=1e-5, rtol=1e-5)
                at += 1
    assert at == len(found)


@pytest.mark.parametrize("kind", ["dot", "sam"])
@pytest.mark.parametrize("of", [[], [0, 0, 1]])
def test_all_weights_that_learn_take_part(kind: str, of: list[int]) -> None:
    head = made(DotHead(STATE, VISION, WIDTH) if kind == "dot" else SamHead(STATE, SHAPE))
    own = tuple(torch.randn(1, 16, 4, 4) for _ in GRIDS)
    logits = head(reading(of, own))["masks"]
    assert (logits.numel() == 0) == (not of)
    logits.sum().backward()
    learning = {name for name, weight in head.named_parameters() if weight.requires_grad}
    assert {name for name, weight in head.named_parameters() if weight.grad is not None} == learning
    assert not any(name.startswith(("encoder.", "no_mask.")) for name in learning)
    if of:
        assert all(bool(weight.grad.any()) for name, weight in head.named_parameters() if name.startswith("state."))


def test_masks_of_sam_are_those_of_its_picture_alone() -> None:
    head = made(SamHead(STATE, SHAPE)).eval()
    random = torch.Generator().manual_seed(5)
    pictures = [torch.rand(3, 28 * height, 28 * width, generator=random) for height, width in GRIDS]
    own = head.see(pictures)
    assert len(own) == 2 and not any(one.requires_grad for one in own)
    found = head(reading([0, 0, 1], own))["masks"]
    sizes = [cells(GRIDS[image], 16) for image in (0, 0, 1)]
    assert sizes == [(11, 16), (11, 16), (16, 4)]
    parts = found.split([height * width for height, width in sizes])
    alone = head(reading([0], own))["masks"]
    torch.testing.assert_close(parts[0], alone, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(parts[0], parts[1])
    square = head.decode(head.state(reading([0]).states), own[0])
    torch.testing.assert_close(head.restore(square, GRIDS[0], sizes[0]).flatten(), alone, atol=1e-6, rtol=1e-5)


def test_a_picture_fills_the_square_to_its_longer_side() -> None:
    head = SamHead(STATE, SHAPE)
    placed = head.place(torch.full((3, 56, 84), 0.5))
    assert placed.shape == (1, 3, 64, 64)
    inside = (0.5 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(placed[0, :, :43], inside[:, None, None].expand(3, 43, 64))
    assert not placed[0, :, 43:].any()


def test_weights_of_a_sam_are_taken_from_its_folder(tmp_path: Path) -> None:
    folder = write_sam(tmp_path / "sam")
    first, second = (made(SamHead(STATE, SHAPE)) for _ in range(2))
    first.load(str(folder))
    own = [head.see([torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(2))])[0] for head in (first, second)]
    assert not torch.allclose(own[0], own[1])
    second.load(str(folder))
    assert all(torch.equal(weight, first.state_dict()[name]) for name, weight in second.state_dict().items())


def test_what_is_no_sam_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StampModelError, match=str(tmp_path)):
        SamHead(STATE, SHAPE).load(str(tmp_path))


def test_half_a_sam_is_refused(tmp_path: Path) -> None:
    folder = write_sam(tmp_path / "sam")
    weights = load_file(folder / "model.safetensors")
    save_file({name: value for name, value in weights.items() if "iou_token" not in name}, folder / "model.safetensors")
    with pytest.raises(StampModelError, match=r"lacks mask_decoder\.iou_token\.weight"):
        SamHead(STATE, SHAPE).load(str(folder))
