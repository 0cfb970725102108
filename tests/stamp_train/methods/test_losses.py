"""The objective: formulas, ignored patches, soft labels, and independence of how a batch is split."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stamp_schemas import UsageFault
from stamp_train.methods.losses import added, means, text_loss, total
from stamp_train.methods.stamp.losses import LOSSES, mask_losses
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.examples import ImageExample
from stamp_train.sequence.inputs import Targets
from stamp_train.sequence.layout import Layout

from ..stamping import settings, stamp


def targets_of(*masks: list[int]) -> Targets:
    coverage = torch.tensor([value for mask in masks for value in mask], dtype=torch.uint8)[:, None]
    mask_of = torch.cat([torch.full((len(mask),), i) for i, mask in enumerate(masks)])
    return Targets(torch.zeros(0, dtype=torch.int64), torch.zeros(0), coverage, mask_of, len(masks))


def written_out(logits: Tensor, labels: Tensor, bce: float, dice: float) -> Tensor:
    p = logits.sigmoid()
    overlap = (2 * (p * labels).sum() + 1) / (p.sum() + labels.sum() + 1)
    return bce * F.binary_cross_entropy(p, labels) + dice * (1 - overlap)


@pytest.mark.parametrize(("name", "bce", "dice"), [("published", 0.3, 0.7), ("paper", 1.0, 1.0)])
def test_hard_losses_are_the_textbook_ones(name: str, bce: float, dice: float) -> None:
    logits = torch.tensor([1.0, -2.0, 0.5, 3.0, -1.0])
    found = mask_losses(logits[:, None], targets_of([254, 0, 200], [0, 100]), LOSSES[name])
    expected = [
        written_out(logits[:3], torch.tensor([1.0, 0.0, 1.0]), bce, dice),
        written_out(logits[3:], torch.tensor([0.0, 0.0]), bce, dice),
    ]
    torch.testing.assert_close(found, torch.stack(expected))


def test_soft_labels_are_best_predicted_as_they_are() -> None:
    """The minimum over all probabilities is at the covered fractions, for BCE and Dice together."""
    targets = targets_of([254, 0, 127, 40, 220, 90])
    soft = targets.labels.float() / 254
    logits = torch.zeros(6, 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = mask_losses(logits, targets, LOSSES["default"]).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert (logits.detach().sigmoid() - soft).abs().max() < 0.02


@pytest.mark.parametrize("name", list(LOSSES))
def test_ignored_patches_have_no_say(name: str) -> None:
    logits = torch.tensor([1.0, -2.0, 0.5, 9.0])[:, None].requires_grad_()
    found = mask_losses(logits, targets_of([254, 0, 100, 255]), LOSSES[name])
    torch.testing.assert_close(found, mask_losses(logits[:3], targets_of([254, 0, 100]), LOSSES[name]))
    found.sum().backward()
    assert logits.grad is not None and logits.grad[3] == 0 and (logits.grad[:3] != 0).all()


def test_a_mask_of_ignored_patches_only_counts_as_none() -> None:
    targets = targets_of([255, 255], [254, 0])
    found = mask_losses(torch.ones(4, 1), targets, LOSSES["default"])
    assert found[0] == 0 and found[1] > 0
    assert stamp(1).counts(targets)["mask"] == 1


def test_text_loss_weighs_tokens() -> None:
    logits, ids = torch.randn(3, 7, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 4, 6])
    weights = torch.tensor([1.0, 3.0, 1.0])
    parts = [F.cross_entropy(logits[i : i + 1], ids[i : i + 1]) * weights[i] for i in range(3)]
    torch.testing.assert_close(text_loss(logits, ids, weights), torch.stack(parts).sum())


def test_half_precision_logits_are_computed_in_float32() -> None:
    logits = torch.tensor([[8.0], [-8.0]], dtype=torch.bfloat16)
    assert mask_losses(logits, targets_of([254, 0]), LOSSES["default"]).dtype == torch.float32


def gradient_of(tiny: SimpleNamespace, splits: list[list[ImageExample]], side: int) -> dict[str, Tensor]:
    method = stamp(side)
    batches = [Layout(tiny.chat, method)(images) for images in splits]
    counts = added(method.counts(batch.targets) for batch in batches)
    tiny.model.zero_grad()
    for batch in batches:
        total(method.losses(tiny.model(inputs=batch.inputs), batch.targets), counts).backward()
    return {n: p.grad.clone() for n, p in tiny.model.named_parameters() if p.grad is not None}


def test_any_split_of_a_batch_gives_the_same_gradient(tiny: SimpleNamespace, images_of: Callable[..., Any]) -> None:
    images = images_of([((2, 3), [0, 1]), ((2, 2), [3]), (None, [2]), ((3, 2), [0])], side=4)
    by_dialogue = [replace(image, dialogues=[dialogue]) for image in images for dialogue in image.dialogues]
    whole = gradient_of(tiny, [images], 4)
    for splits in ([images[:1], images[1:]], [images[2:3], [*images[:2], images[3]]], [[one] for one in by_dialogue]):
        parts = gradient_of(tiny, splits, 4)
        assert set(parts) == set(whole)
        for name, grad in whole.items():
            torch.testing.assert_close(parts[name], grad, atol=1e-5, rtol=1e-4, msg=name)


def test_counts_are_known_before_the_forward_pass(tiny: SimpleNamespace, pack: Callable[..., Any]) -> None:
    batch, method = pack([((2, 3), [0, 1])]), tiny.model.method
    found = method.losses(tiny.model(inputs=batch.inputs), batch.targets)
    assert method.counts(batch.targets) == {name: own for name, (_, own) in found.items()}
    assert method.counts(batch.targets)["mask"] == 3
    assert list(found) == ["text", "mask"]


def test_means_are_over_the_given_counts_or_the_own() -> None:
    found = {"text": (torch.tensor(6.0), 3.0), "mask": (torch.tensor(2.0), 0.0)}
    assert {name: float(part) for name, part in means(found).items()} == {"text": 2.0, "mask": 2.0}
    over = added([{"text": 3.0, "mask": 0.0}, {"text": 1.0, "mask": 4.0}])
    assert over == {"text": 4.0, "mask": 4.0}
    assert float(total(found, over)) == 2.0


def test_an_empty_batch_has_no_loss_and_no_nan() -> None:
    targets = targets_of([255])
    assert mask_losses(torch.zeros(1, 1), targets, LOSSES["paper"]).sum() == 0


def test_labels_of_another_fineness_than_the_head_are_refused(tiny: SimpleNamespace, pack: Callable[..., Any]) -> None:
    batch = pack([((2, 3), [0])], side=1)
    with pytest.raises(StampModelError, match=r"\(6, 16\), their targets \(6, 1\)"):
        tiny.model.method.losses(tiny.model(inputs=batch.inputs), batch.targets)


def test_published_losses_are_of_the_published_readout() -> None:
    assert settings("patch", loss="published").method().divide_by == "micro"
    with pytest.raises(UsageFault, match="one per patch, the fine head wants more"):
        settings("fine", loss="published").method()
