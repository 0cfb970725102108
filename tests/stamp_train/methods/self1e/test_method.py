"""What SELF1E puts into a sequence, what it reads, and whose features it takes."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
import torch
import torch.nn.functional as F

from stamp_schemas.record import FULL
from stamp_train.backbones.presets import build_preset
from stamp_train.backbones.processor import PixelBatch
from stamp_train.generation.generate import StampGenerator
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.methods.self1e.readout import Planes, Self1eHead, unshuffle
from stamp_train.methods.self1e.settings import Self1eSettings
from stamp_train.sequence.inputs import Reading
from stamp_train.sequence.layout import Layout

from ..making import ONE, TURNS, TWO, example, record, tiny


def test_a_branch_is_the_images_tokens_once_more_for_each_mask() -> None:
    one = tiny("self1e")
    pack = Layout(one.chat, one.method)([example(one.method, record([TWO, ONE]), (2, 3))])
    inputs, structure = pack.inputs, pack.inputs.structure
    ids = inputs.input_ids[0]
    segs = (ids == one.chat.seg_id).nonzero()[:, 0].tolist()
    [image] = [(ids == one.chat.image_id).nonzero()[:, 0].split(6)[0]]
    rows = inputs.mask_rows.split([mask.rows for mask in inputs.masks])
    assert len(segs) == len(rows) == 3 and one.method.settings.tokens_per_mask(6) == 6
    for seg, (query, *copies) in zip(segs, (part.tolist() for part in rows), strict=True):
        assert query == seg - 1 and len(copies) == 6
        assert torch.equal(ids[copies], ids[image])
        assert torch.equal(inputs.position_ids[:, 0, copies], inputs.position_ids[:, 0, image])
        assert torch.equal(inputs.feature_rows[copies], inputs.feature_rows[image])
        assert set(structure.order[copies].tolist()) == {int(structure.order[seg])}
        assert len(set(structure.block[copies].tolist()) | {0}) == 2
    with torch.no_grad():
        features = one.model.image_features(inputs)
        assert torch.equal(one.model.embed(inputs, features)[0, rows[0][1:]], features.merged)


def test_without_a_branch_no_token_is_added_and_the_images_own_are_read() -> None:
    one = tiny("self1e-none")
    pack = Layout(one.chat, one.method)([example(one.method, record([TWO, ONE]), (2, 3))])
    ids = pack.inputs.input_ids[0]
    image = (ids == one.chat.image_id).nonzero()[:, 0].tolist()
    assert len(image) == 6 and not pack.inputs.structure.block.any() and one.method.settings.tokens_per_mask(6) == 0
    for part in pack.inputs.mask_rows.split([mask.rows for mask in pack.inputs.masks]):
        assert part[1:].tolist() == image


def test_published_attention_gives_every_dialogue_the_image_to_itself() -> None:
    one = tiny("self1e-published")
    talk = record([TWO, ("A ball.",)])
    pack = Layout(one.chat, one.method)([example(one.method, talk, (2, 3))])
    inputs, structure = pack.inputs, pack.inputs.structure
    ids, image = inputs.input_ids[0], inputs.feature_rows >= 0
    assert structure.document.unique().tolist() == [1, 2] and int(image.sum()) == 12
    assert inputs.image_grid_thw is not None and len(inputs.image_grid_thw) == 1  # still one pass of the tower
    first = structure.document == 1
    segs = first & (ids == one.chat.seg_id)
    assert torch.equal(structure.looks, (first & image).long())
    assert torch.equal(structure.shown, (first & image | segs).long())
    assert int(segs.sum()) == 2 and not (structure.block > 0).any()
    for part in inputs.mask_rows.split([mask.rows for mask in inputs.masks]):
        assert part[1:].tolist() == (first & image).nonzero()[:, 0].tolist()


@pytest.mark.parametrize(("name", "leaks"), [("self1e-published", True), ("self1e", False), ("self1e-none", False)])
def test_published_attention_tells_the_text_what_follows(name: str, leaks: bool) -> None:
    """What stands at `<|seg|>` moves the logits before it, for every token between the image and itself: the answer's leak.

    It is part of the method as published, and the reason why `branch` is the default; nothing else may do so.
    """
    one = tiny(name)
    pack = Layout(one.chat, one.method, text_labels="all")([example(one.method, record([ONE]), (2, 3))])
    inputs = pack.inputs
    [at] = (inputs.input_ids[0] == one.chat.seg_id).nonzero()[:, 0].tolist()
    other = inputs.input_ids.clone()
    other[0, at] = 5
    with torch.no_grad():
        logits, moved = (
            one.model(inputs=replace(inputs, input_ids=ids)).text_logits for ids in (inputs.input_ids, other)
        )
    change = (logits - moved).abs().amax(1)
    image = ((inputs.input_ids[0] == one.chat.image_id) & (inputs.structure.block == 0)).nonzero()[:, 0]
    between = (inputs.text_rows > image.max()) & (inputs.text_rows < at)
    assert bool((change[between] > 1e-5).all()) == leaks and bool(between.any())
    assert float(change[inputs.text_rows < int(image.min())].max()) < 1e-5
    if not leaks:
        assert float(change[between].max()) < 1e-5


@pytest.mark.parametrize("attention", ["sdpa", "segments", "flex"])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_published_attention_packed_is_what_each_dialogue_is_alone(attention: str) -> None:
    one = tiny("self1e-published")
    whole = example(one.method, record([TWO, ONE, TURNS]), (3, 2))
    other = example(one.method, record([ONE], 1), (2, 2), 1)
    lay_out = Layout(one.chat, one.method)
    with torch.no_grad():
        packed = one.model(inputs=lay_out([other, whole]).inputs, attention=attention)
        alone = [
            one.model(inputs=lay_out([replace(image, dialogues=[dialogue])]).inputs, attention="sdpa")
            for image in (other, whole)
            for dialogue in image.dialogues
        ]
    for name in ("masks", "low"):
        wanted = torch.cat([part.read[name] for part in alone])
        torch.testing.assert_close(packed.read[name], wanted, atol=1e-4, rtol=1e-4)
    wanted = torch.cat([part.text_logits for part in alone])
    torch.testing.assert_close(packed.text_logits, wanted, atol=1e-4, rtol=1e-4)


def test_resized_targets_are_learned_at_their_own_size() -> None:
    """Each mask's logits, at both resolutions, are enlarged to its label; written out mask by mask."""
    one, method = tiny("self1e"), Self1eSettings(targets="resized", bce=3.0, dice=2.0).method()
    pack = Layout(one.chat, method)([example(method, record([TWO], 1), (2, 3)), example(method, record([ONE]), (3, 2))])
    assert pack.targets.sizes == ((84, 112),) * 3 and method.cells is None
    with torch.no_grad():
        output = one.model(inputs=pack.inputs)
        found = method.losses(output, pack.targets)
    wanted = torch.zeros(2)
    labels = pack.targets.labels.reshape(3, 84, 112) / FULL
    for name, side in (("masks", 4), ("low", 2)):
        parts = output.read[name].split([side * side * 6] * 3)
        for logits, label, place in zip(parts, labels, output.masks, strict=True):
            picture = logits.reshape(1, 1, side * place.grid[0], side * place.grid[1])
            sized = F.interpolate(picture, size=(84, 112), mode="bilinear")[0, 0]
            share = sized.sigmoid()
            dice = (2 * (share * label).sum() + 1e-3) / (share.sum() + label.sum() + 1e-3)
            wanted += torch.stack([3 * F.binary_cross_entropy_with_logits(sized, label), 2 * (1 - dice)])
    torch.testing.assert_close(torch.stack([found["bce"][0], found["dice"][0]]), wanted, atol=1e-5, rtol=1e-5)
    assert found["bce"][1] == found["dice"][1] == 3
    assert method.ideal(method.label(record([ONE]), 0, (3, 2), None)).shape == (84, 112)


def test_results_of_published_attention_say_what_they_are() -> None:
    leaking, ours = Self1eSettings(attention="published"), Self1eSettings()
    assert any("ahead" in remark for remark in leaking.remarks) and not ours.remarks
    assert leaking.tokens_per_mask(9) == 0 and leaking.looks_ahead and not ours.looks_ahead


@pytest.mark.parametrize("grid", [(1, 1), (5, 8), (8, 5), (1, 7)])
def test_unshuffle_puts_each_channel_where_the_merge_took_it_from(grid: tuple[int, int]) -> None:
    height, width = grid
    cells = torch.randn(2, 2 * height, 2 * width, 3, generator=torch.Generator().manual_seed(0))
    merged = torch.stack(
        [
            torch.cat([cells[:, 2 * row + r, 2 * column + c] for r in (0, 1) for c in (0, 1)], dim=-1)
            for row in range(height)
            for column in range(width)
        ],
        dim=1,
    )
    assert torch.equal(unshuffle(merged, grid), cells)


def test_masks_that_share_their_image_are_what_they_are_one_by_one() -> None:
    torch.manual_seed(0)
    head = Self1eHead(8, shared=True)
    planes = Planes(torch.randn(4, 6, 8), torch.randn(8, 12, 8))
    queries, image = torch.randn(3, 1, 8), torch.randn(1, 6, 8)
    together = head.logits(torch.cat([queries, image.expand(3, -1, -1)], dim=1), planes, (2, 3))
    for number in range(3):
        alone = head.logits(torch.cat([queries[number][None], image], dim=1), planes, (2, 3))
        for left, right in zip(together, alone, strict=True):
            torch.testing.assert_close(left[number], right[0])


def test_products_of_a_new_readout_are_large_enough_to_learn_from() -> None:
    model, _ = build_preset("tiny", method=Self1eSettings())
    for name, weight in model.classifier.named_parameters():
        assert float(weight.detach().std()) == pytest.approx(
            weight.shape[-1] ** -0.5 if weight.ndim == 2 else 0, rel=0.1
        ), name


@pytest.mark.parametrize("masks", [True, False])
def test_all_weights_take_part(masks: bool) -> None:
    one = tiny("self1e")
    inputs = Layout(one.chat, one.method)([example(one.method, record([TWO]), (2, 3))]).inputs
    head = Self1eHead(64, shared=False)
    places = inputs.masks if masks else ()
    states = torch.randn(sum(place.rows for place in places), 64)
    merger, features = one.model.model.visual.merger, one.model.image_features(inputs)
    found = head(Reading(states, torch.zeros(0), places, features, merger))
    assert len(found["masks"]) == 4 * len(found["low"]) == 2 * masks * 16 * 6
    (found["masks"].sum() + found["low"].sum()).backward()
    assert all(weight.grad is not None and bool(weight.grad.any()) == masks for weight in head.parameters())


@pytest.mark.parametrize("attention", ["branch", "none", "published"])
@pytest.mark.parametrize("preset", ["qwen2.5-tiny", "qwen3-tiny"])
def test_other_families_draw_over_the_cache_what_one_pass_has(preset: str, attention: str) -> None:
    """Their towers have windows, or features for inner layers; patches before the merge are in the image's order."""
    model, processor = build_preset(preset, method=Self1eSettings(attention=attention))  # type: ignore[arg-type]
    grid, size = (4, 6), model.config.vision_config.patch_size**2 * 6
    pixels = torch.randn(4 * grid[0] * grid[1], size, generator=torch.Generator().manual_seed(1))
    of = example(model.method, record([TWO, ONE]), grid)
    image = replace(of, pixel_values=pixels)
    pack = Layout(processor.chat, model.method)([image])
    with torch.no_grad():
        features = model.image_features(pack.inputs)
        torch.testing.assert_close(model.model.visual.merger(features.patches.flatten(0, 1)), features.merged)
        output = model(inputs=pack.inputs)
    prompts = [[[*dialogue.messages] for dialogue in image.dialogues]]
    given = [PixelBatch(pixels, of.grid_thw)]
    answers = StampGenerator(model, processor).generate(given, prompts, GenerationOptions(max_new_tokens=0))
    drawn = [mask for answer in answers[0] for mask in answer.masks]
    wanted = model.method.pictures(output.read, output.masks)
    assert len(drawn) == len(wanted) == 3
    for found, picture in zip(drawn, wanted, strict=True):
        assert found.shape == (16, 24)
        torch.testing.assert_close(found, picture, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("told", [{"attention": "all"}, {"targets": "sampled"}, {"bce": -1}, {"width": 4}])
def test_settings_that_are_none_are_refused(told: dict) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "self1e", **told}, Self1eSettings)
