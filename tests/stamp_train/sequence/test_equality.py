"""One packed pass against the published way: for each dialogue a text pass, then a pass for each mask."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stamp_train.methods.losses import total
from stamp_train.methods.patches import grid_to_patches
from stamp_train.methods.stamp.losses import LOSSES, LossSettings, mask_losses
from stamp_train.sequence.examples import DialogueExample, ImageExample
from stamp_train.sequence.inputs import Reading, Targets
from stamp_train.sequence.layout import Layout

from ..stamping import stamp

SIDE = 4


def expand(ids: list[int], image_id: int, patches: int) -> Tensor:
    """Repeat the image placeholder for every patch."""
    return torch.tensor([i for token in ids for i in ([token] * patches if token == image_id else [token])])


class TwoPass:
    """Sums of both losses for one dialogue, through transformers' own forward pass, positions and masks."""

    def __init__(self, tiny: SimpleNamespace, scheme: str, settings: LossSettings) -> None:
        self.model, self.chat, self.scheme, self.settings = tiny.model, tiny.chat, scheme, settings

    def __call__(self, image: ImageExample, dialogue: DialogueExample) -> tuple[Tensor, Tensor]:
        encoded = self.chat.encode(dialogue.messages)
        grid = (image.grid_thw[1] // 2, image.grid_thw[2] // 2) if image.grid_thw else (0, 0)
        patches = grid[0] * grid[1]
        ids = expand(encoded.ids, self.chat.image_id, patches)
        answer = expand([int(said) for said in encoded.answer], -1, 0)
        answer = torch.cat([torch.zeros(len(ids) - len(answer), dtype=answer.dtype), answer])
        text = self.text_loss(image, ids, answer.bool() if self.settings.text_labels == "answers" else answer >= 0)
        masks = torch.zeros(())
        for seg, coverage in zip((ids == self.chat.seg_id).nonzero()[:, 0].tolist(), dialogue.labels, strict=True):
            masks = masks + self.mask_loss(image, grid, ids[: seg + 1], torch.from_numpy(coverage))
        return text, masks

    def stock(self, image: ImageExample, ids: Tensor) -> dict[str, Any]:
        if image.grid_thw is None:
            return {"input_ids": ids[None]}
        return {
            "input_ids": ids[None],
            "pixel_values": image.pixel_values,
            "image_grid_thw": torch.tensor([image.grid_thw]),
            "mm_token_type_ids": (ids[None] == self.chat.image_id).int(),
        }

    def text_loss(self, image: ImageExample, ids: Tensor, wanted: Tensor) -> Tensor:
        logits = self.model(**self.stock(image, ids), use_cache=False).logits[0]
        losses = F.cross_entropy(logits[:-1], ids[1:], reduction="none")
        return losses[wanted[1:]].sum()

    def mask_loss(self, image: ImageExample, grid: tuple[int, int], prefix: Tensor, coverage: Tensor) -> Tensor:
        model, patches = self.model.model, grid[0] * grid[1]
        thw = torch.tensor([image.grid_thw])
        positions, _ = model.get_rope_index(prefix[None], (prefix[None] == self.chat.image_id).int(), thw)
        row, column = torch.arange(grid[0]), torch.arange(grid[1])
        axes = torch.stack([torch.zeros(grid), *torch.meshgrid(row, column, indexing="ij")]).flatten(1).long()
        steps = axes if self.scheme == "grid" else torch.arange(patches).expand(3, -1)
        positions = torch.cat([positions[:, 0], positions[:, 0, -1:] + 1 + steps], dim=1)
        vision = model.visual(image.pixel_values, grid_thw=thw)
        layers = getattr(vision, "deepstack_features", None)
        text = model.language_model.embed_tokens(prefix)
        text[prefix == self.chat.image_id] = vision.pooler_output
        mask = (
            model.language_model.embed_tokens(torch.full((patches,), self.chat.control["<|mask|>"]))
            + vision.pooler_output
        )
        length = len(prefix) + patches
        more: dict[str, Any] = {}
        if layers:  # for the image's tokens, and once more for those of the mask
            taking = torch.cat([prefix == self.chat.image_id, torch.ones(patches, dtype=torch.bool)])
            more = {"visual_pos_masks": taking[None], "deepstack_visual_embeds": [x.repeat(2, 1) for x in layers]}
        allowed = torch.ones(length, length, dtype=torch.bool).tril()
        allowed[len(prefix) :] = True
        states = model.language_model(
            inputs_embeds=torch.cat([text, mask])[None],
            position_ids=positions[:, None],
            attention_mask=allowed[None, None],
            use_cache=False,
            **more,
        ).last_hidden_state[0, len(prefix) :]
        features = self.model.encode_images(image.pixel_values, thw)
        reading = Reading(states, torch.arange(patches), (), features)
        logits = self.model.classifier(reading)["mask"]
        nothing = torch.zeros(0)
        targets = Targets(nothing, nothing, grid_to_patches(coverage, SIDE), torch.zeros(patches, dtype=torch.int64), 1)
        return mask_losses(logits, targets, self.settings).sum()


def gradients(model: torch.nn.Module, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


GRIDS = st.sampled_from([(2, 2), (2, 3), (3, 2)])
IMAGE = st.tuples(GRIDS, st.lists(st.integers(0, 4), min_size=1, max_size=5))
SHAPES = st.tuples(IMAGE, st.sampled_from([None, (None, [2]), ((3, 3), [1])])).map(lambda s: [i for i in s if i])


@pytest.mark.parametrize("scheme", ["grid", "sequential"])
@pytest.mark.parametrize("name", ["default", "published"])
@settings(max_examples=8)
@given(shape=SHAPES, backend=st.sampled_from(["sdpa", "segments"]))
def test_one_pass_equals_two_passes(
    family: SimpleNamespace,
    images_of: Callable[..., list[ImageExample]],
    scheme: str,
    name: str,
    shape: Any,
    backend: str,
) -> None:
    method = stamp(SIDE, name, mask_positions=scheme)
    images = images_of(shape, side=SIDE, patch=family.patch)
    batch = Layout(family.chat, method, text_labels=method.text_labels)(images)
    counts = method.counts(batch.targets)
    one = method.losses(family.model(inputs=batch.inputs, attention=backend), batch.targets)
    reference = TwoPass(family, scheme, method.loss)
    sums = [reference(image, dialogue) for image in images for dialogue in image.dialogues]
    text, masks = sum(s[0] for s in sums), sum(s[1] for s in sums)
    assert counts["text"] > 0
    two_total = text / counts["text"] + masks / max(counts["mask"], 1)
    torch.testing.assert_close(one["text"][0], text, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(total(one, counts), two_total, rtol=1e-6, atol=1e-6)
    mine = gradients(family.model, total(one, counts))
    theirs = gradients(family.model, two_total)
    assert set(theirs) <= set(mine)
    for key, grad in mine.items():
        torch.testing.assert_close(grad, theirs.get(key, torch.zeros_like(grad)), atol=1e-5, rtol=1e-5, msg=key)


def test_documents_of_a_pack_do_not_touch_each_other(
    family: SimpleNamespace, images_of: Callable[..., list[ImageExample]]
) -> None:
    """Exact isolation: a neighbour whose pixels and text change leaves every number as it was."""
    layout = Layout(family.chat, stamp(SIDE))
    alone, other = images_of([((2, 3), [1, 3]), ((3, 2), [0])], side=SIDE, patch=family.patch)
    single = layout([alone])
    packed = layout([other, alone])
    for backend in ("sdpa", "segments"):
        with torch.no_grad():
            one = family.model(inputs=single.inputs, attention=backend)
            two = family.model(inputs=packed.inputs, attention=backend)
        rows = len(one.read["mask"])
        torch.testing.assert_close(two.read["mask"][-rows:], one.read["mask"], atol=1e-5, rtol=0)
        torch.testing.assert_close(two.text_logits[-len(one.text_logits) :], one.text_logits, atol=1e-5, rtol=0)


def test_text_after_a_mask_is_as_if_the_mask_were_not_there(
    family: SimpleNamespace, images_of: Callable[..., list[ImageExample]]
) -> None:
    images = images_of([((2, 3), [3])], side=SIDE, patch=family.patch)
    layout = Layout(family.chat, stamp(SIDE), text_labels="all")
    batch = layout(images)
    with torch.no_grad():
        out = family.model(inputs=batch.inputs)
        ids = expand(family.chat.encode(images[0].dialogues[0].messages).ids, family.chat.image_id, 6)
        stock = TwoPass(family, "grid", LOSSES["default"]).stock(images[0], ids)
        logits = family.model(**stock, use_cache=False).logits[0, :-1]
    order = batch.inputs.text_rows.argsort()
    torch.testing.assert_close(out.text_logits[order], logits, atol=1e-5, rtol=0)
