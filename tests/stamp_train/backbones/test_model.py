"""The model class: names on disk, every family, readouts, checkpointing, and agreement with transformers."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Qwen2VLForConditionalGeneration

from stamp_train.backbones.load import load_checkpoint, start_from
from stamp_train.backbones.modeling import model_class
from stamp_train.backbones.presets import build_preset, preset_config
from stamp_train.methods import settings_of
from stamp_train.methods.losses import total
from stamp_train.methods.patches import grid_to_patches, patches_to_grid
from stamp_train.methods.stamp.heads import HEADS, by_rows
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.layout import Layout

from ..conftest import TINY, noise
from ..stamping import PUBLISHED, settings, stamp

Make = Callable[..., Any]


def test_published_names_in_memory_and_back_on_disk(golden_model_path: Path, tmp_path: Path) -> None:
    names = json.loads((golden_model_path / "keys.json").read_text(encoding="utf-8"))
    model = load_checkpoint(golden_model_path)
    assert set(model.state_dict()) == set(names["in_memory"])
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as saved:
        assert sorted(saved.keys()) == names["on_disk"]
    first, second = load_file(golden_model_path / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in names["on_disk"])
    assert settings_of(load_checkpoint(tmp_path).config) == PUBLISHED


def test_our_models_are_saved_under_the_published_names(tiny: SimpleNamespace, tmp_path: Path) -> None:
    tiny.model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as saved:
        prefixes = {key.split(".")[0] + "." + key.split(".")[1] for key in saved.keys()}  # noqa: SIM118
    assert {"visual.merger", "model.layers", "model.embed_tokens", "model.norm"} <= prefixes
    again = load_checkpoint(tmp_path)
    assert again.method.settings == tiny.model.method.settings == settings()
    for name, value in tiny.model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


@pytest.mark.parametrize("fault", ["missing", "unexpected"])
def test_a_checkpoint_that_does_not_fit_is_refused(golden_model_path: Path, tmp_path: Path, fault: str) -> None:
    weights = load_file(golden_model_path / "model.safetensors")
    if fault == "missing":
        del weights["model.layers.1.mlp.up_proj.weight"]
    else:
        weights["model.layers.7.surplus"] = torch.zeros(1)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text((golden_model_path / "config.json").read_text(encoding="utf-8"))
    with pytest.raises(StampModelError, match=f"1 {fault}"):
        load_checkpoint(tmp_path)


def test_a_base_model_gets_a_new_head_only_on_request(golden_model_path: Path, tmp_path: Path) -> None:
    weights = load_file(golden_model_path / "model.safetensors")
    base = {name: tensor for name, tensor in weights.items() if not name.startswith("classifier")}
    save_file(base, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text((golden_model_path / "config.json").read_text(encoding="utf-8"))
    with pytest.raises(StampModelError, match="start_from"):
        load_checkpoint(tmp_path)
    model = start_from(tmp_path)
    assert model.method.settings == settings(head="fine", mask_positions="grid")
    assert torch.equal(model.model.language_model.norm.weight, weights["model.norm.weight"])
    assert float(model.classifier.out.weight.detach().std()) > 0


def test_unknown_model_type_head_and_positions(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(StampModelError, match="model type 'llama'"):
        load_checkpoint(tmp_path)
    for stored, message in (
        ({"mask_positions": "spiral"}, "'spiral' - at `.*mask_positions`"),
        ({"head": "fine", "head_words": 8}, "told words or named patches, which only older versions did"),
        ({"demo": {"names": ["cross", "star"]}}, "told words or named patches"),
        ({"head": "deep"}, "'deep' - at `.*head`"),
        ({"name": "lisa"}, "no method 'lisa'"),
        ({"hed": "patch"}, "unknown field `hed`"),
        ("patch", "not the settings of a method"),
    ):
        with pytest.raises(StampModelError, match=message):
            settings_of(SimpleNamespace(stamp=stored))


def test_settings_of_older_checkpoints_are_read() -> None:
    """As they were stored before methods had names, and with help in training that left the network as it was."""
    stored = {"head": "fine", "mask_positions": "grid", "head_width": 128, "head_words": 0, "names": []}
    assert settings_of(SimpleNamespace(stamp=stored)) == settings(head_width=128)
    helped = {"near": True, "readout": 3.0, "head_words": 0, "names": [], "early": 0.5}
    assert settings_of(SimpleNamespace(stamp={"name": "stamp", "head_width": 64, "demo": helped})) == settings(
        head_width=64
    )


def test_sliding_windows_are_refused(tiny: SimpleNamespace) -> None:
    config = preset_config("tiny", tiny.processor.tokenizer)
    config.text_config.layer_types = ["full_attention", "sliding_attention"]
    with pytest.raises(StampModelError, match="sliding"):
        model_class("qwen2_vl")(config)


def test_plain_forward_is_that_of_transformers(golden_model_path: Path) -> None:
    # Older versions overlook the tie that this file tells in its text part alone; ours do not.
    tied = {"tie_word_embeddings": True}
    stock = Qwen2VLForConditionalGeneration.from_pretrained(golden_model_path, **tied)
    ours = load_checkpoint(golden_model_path)
    ids = torch.tensor([[417, 12, 30, 418, 90]])
    padding = torch.tensor([[0, 0, 1, 1, 1]])  # a name without a mask function would ignore it
    with torch.no_grad():
        torch.testing.assert_close(ours(input_ids=ids).logits, stock(input_ids=ids).logits)
        torch.testing.assert_close(
            ours(input_ids=ids, attention_mask=padding).logits, stock(input_ids=ids, attention_mask=padding).logits
        )
    options = {"max_new_tokens": 8, "do_sample": False}
    assert torch.equal(ours.generate(ids, **options), stock.generate(ids, **options))


@pytest.mark.parametrize("backend", ["sdpa", "segments"])
@pytest.mark.parametrize("preset", TINY)
def test_gradient_checkpointing_changes_nothing(images_of: Make, preset: str, backend: str) -> None:
    model, processor = build_preset(preset)
    model.train()
    batch = Layout(processor.chat, stamp())(images_of([((2, 3), [0, 1])], side=4, patch=model.backbone.patch))

    def run() -> tuple[float, dict[str, Tensor]]:
        model.zero_grad()
        loss = total(model.method.losses(model(inputs=batch.inputs, attention=backend), batch.targets))
        loss.backward()
        return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    plain_loss, plain = run()
    model.gradient_checkpointing_enable()
    assert model.model.language_model.layers[0].gradient_checkpointing
    loss, grads = run()
    assert loss == pytest.approx(plain_loss, rel=1e-6)
    for name, grad in plain.items():
        torch.testing.assert_close(grads[name], grad, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize("head", list(HEADS))
@pytest.mark.parametrize("preset", TINY)
def test_every_parameter_gets_a_gradient_in_training(images_of: Make, preset: str, head: str) -> None:
    """Also from text alone: under sharded training a rank without an image must still take part in every layer."""
    model, processor = build_preset(preset, method=settings(head))
    model.train()
    side = HEADS[head].side
    layout = Layout(processor.chat, stamp(side))
    for shape in ([((2, 3), [0])], [(None, [2])]):
        model.zero_grad()
        batch = layout(images_of(shape, side=side, patch=model.backbone.patch))
        total(model.method.losses(model(inputs=batch.inputs), batch.targets)).backward()
        without = [name for name, p in model.named_parameters() if p.grad is None]
        assert without == []
        vision = [p.grad.abs().sum() for n, p in model.named_parameters() if n.startswith("model.visual")]
        assert all(float(size) > 0 for size in vision) == (shape[0][0] is not None)


def test_the_blank_patch_leaves_text_as_it_is(images_of: Make, tiny: SimpleNamespace) -> None:
    model, _ = build_preset("tiny")
    inputs = Layout(tiny.chat, stamp())(images_of([(None, [2])])).inputs
    with torch.no_grad():
        evaluated = model.eval()(inputs=inputs).text_logits
        assert torch.equal(model.train()(inputs=inputs).text_logits, evaluated)


def test_the_output_says_what_ran(pack: Make, tiny: SimpleNamespace) -> None:
    batch = pack([((2, 3), [0, 1])])
    with torch.no_grad():
        out = tiny.model(inputs=batch.inputs, attention="auto")
    assert out.backend == "segments"
    assert [tuple(grid.shape) for grid in tiny.model.method.pictures(out.read, out.masks)] == [(8, 12)] * 3


# --- readouts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (5, 2)])
def test_pictures_and_patches_are_inverse(grid: tuple[int, int]) -> None:
    picture = torch.arange(grid[0] * grid[1] * 16).reshape(4 * grid[0], 4 * grid[1])
    patches = grid_to_patches(picture, 4)
    assert torch.equal(patches_to_grid(patches, grid), picture)
    assert torch.equal(patches[0].reshape(4, 4), picture[:4, :4])


def test_the_fine_head_reads_each_quadrant_from_its_own_vision_feature(tiny: SimpleNamespace) -> None:
    head = tiny.model.classifier
    generator = torch.Generator().manual_seed(0)
    states, vision = torch.randn(2, 64, generator=generator), torch.randn(2, 4, 32, generator=generator)
    with torch.no_grad():
        before = patches_to_grid(by_rows(head.out(head.joined(states, vision))), (1, 2))
        vision[0, 2] *= torch.linspace(-1, 1, 32)  # lower left quadrant of the left patch: rows 2-3, columns 0-1
        changed = patches_to_grid(by_rows(head.out(head.joined(states, vision))), (1, 2)) != before
    assert changed[2:, :2].all()
    changed[2:, :2] = False
    assert not changed.any()


@pytest.mark.parametrize("grid", [(1, 1), (2, 3), (5, 2)])
@pytest.mark.parametrize("preset", TINY)
def test_the_fine_head_teaches_the_vision_tower_directly(images_of: Make, preset: str, grid: tuple[int, int]) -> None:
    """Through the features before the merge, not only through the language model: its states are cut off here."""
    model, processor = build_preset(preset)
    inputs = Layout(processor.chat, stamp())(images_of([(grid, [0])], side=4, patch=model.backbone.patch)).inputs
    states = torch.randn(grid[0] * grid[1], 64, generator=torch.Generator().manual_seed(0))
    features = model.image_features(inputs)
    logits = model.read_out(inputs.masks, states, features, inputs.feature_rows[inputs.mask_rows])["mask"]
    assert logits.shape == (grid[0] * grid[1], 16)
    logits.square().sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in model.model.visual.blocks.parameters())
    mergers = [p for name, p in model.model.visual.named_parameters() if "merger" in name]
    assert mergers and all(p.grad is None for p in mergers)


def test_mixed_precision(tiny: SimpleNamespace, pack: Make) -> None:
    inputs = pack([((2, 3), [0, 1])]).inputs
    with torch.no_grad():
        exact = tiny.model(inputs=inputs)
        for backend in ("sdpa", "segments"):
            with torch.autocast("cpu", torch.bfloat16):
                mixed = tiny.model(inputs=inputs, attention=backend)
            torch.testing.assert_close(mixed.read["mask"].float(), exact.read["mask"], atol=0.05, rtol=0)


@pytest.mark.parametrize("preset", TINY)
def test_vision_features_belong_to_their_patch(preset: str) -> None:
    """The patches of merged token n are rows 4n to 4n+3 of the pixel values; Qwen2.5-VL's windows are undone.

    Shown without attention between patches: the tower's attention output is switched off, so that a change of one
    pixel row changes the features of that patch alone.
    """
    model: Any = build_preset(preset)[0]
    for block in model.model.visual.blocks:
        torch.nn.init.zeros_(block.attn.proj.weight)
    grid = (3, 5)
    pixels, thw = noise(grid, 1, model.backbone.patch)
    thw = torch.tensor([thw])
    with torch.no_grad():
        before = model.encode_images(pixels, thw)
        for row in (0, 5, 27, 59):
            other = pixels.clone()
            other[row] += 1
            after = model.encode_images(other, thw)
            assert (after.patches != before.patches).any(-1).flatten().nonzero().flatten().tolist() == [row]
            for now, then in zip((after.merged, *after.layers), (before.merged, *before.layers), strict=True):
                assert (now != then).any(-1).nonzero().flatten().tolist() == [row // 4]
    assert before.patches.shape == (grid[0] * grid[1], 4, 32)
    assert len(before.layers) == len(getattr(model.config.vision_config, "deepstack_visual_indexes", ()))


def test_positions_are_those_of_transformers(family: SimpleNamespace, images_of: Make) -> None:
    """Rows and columns of an image, and what comes after it."""
    for grid in ((2, 5), (4, 1)):
        (image,) = images_of([(grid, [2])], side=4, patch=family.patch)
        inputs = Layout(family.chat, stamp())([image]).inputs
        typed = (inputs.input_ids == family.chat.image_id).int()
        found, _ = family.model.model.get_rope_index(inputs.input_ids, typed, torch.tensor([image.grid_thw]))
        assert torch.equal(found, inputs.position_ids)


def test_rows_of_pixel_values_are_grouped_by_merge_block(family: SimpleNamespace) -> None:
    from PIL import Image

    grey = np.repeat(np.repeat(np.arange(16, dtype=np.uint8).reshape(4, 4) * 10, family.patch, 0), family.patch, 1)
    pixels = family.processor.images([Image.fromarray(np.stack([grey] * 3, -1))])[0]
    assert pixels.grid_thw == (1, 4, 4)
    levels = pixels.pixel_values[:, 600].argsort()
    assert levels.argsort().tolist() == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]


@pytest.mark.parametrize("head", ["patch", "fine"])
@pytest.mark.parametrize("preset", TINY)
def test_every_family_packs_and_trains_and_reloads(images_of: Make, tmp_path: Path, preset: str, head: str) -> None:
    model, processor = build_preset(preset, method=settings(head))
    side = HEADS[head].side
    images = images_of([((2, 3), [0, 1]), ((3, 5), [3])], side=side, patch=model.backbone.patch)
    batch = Layout(processor.chat, stamp(side))(images)
    results = [model(inputs=batch.inputs, attention=backend) for backend in ("sdpa", "segments")]
    torch.testing.assert_close(results[0].read["mask"], results[1].read["mask"], atol=1e-5, rtol=0)
    total(model.method.losses(results[1], batch.targets)).backward()
    model.save_pretrained(tmp_path)
    again = load_checkpoint(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(inputs=batch.inputs).read["mask"], results[1].read["mask"].detach())


def test_mask_tokens_get_deepstack_features_unless_told_not_to(images_of: Make) -> None:
    found = []
    for deepstack in (True, False):
        model, processor = build_preset("qwen3-tiny", method=settings(deepstack=deepstack))
        batch = Layout(processor.chat, stamp())(images_of([((2, 3), [0, 1])], side=4, patch=16))
        with torch.no_grad():
            found.append(model(inputs=batch.inputs))
    assert torch.equal(found[0].text_logits, found[1].text_logits)
    assert (found[0].read["mask"] - found[1].read["mask"]).abs().max() > 1e-4
