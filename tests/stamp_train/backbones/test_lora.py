"""Adapters and embedding rows: ties kept, only new rows trained, the published layout read."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stamp_train.backbones.load import load_checkpoint
from stamp_train.backbones.lora import load_adapter, lora_config, merge_adapter
from stamp_train.backbones.modeling import model_class
from stamp_train.backbones.presets import preset_config
from stamp_train.methods.losses import total
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.layout import Layout

from ..conftest import random_images
from ..stamping import settings, stamp

peft = pytest.importorskip("peft")
Make = Callable[..., Any]


def model_of(tied: bool, family: SimpleNamespace, head: str = "fine") -> Any:
    config = preset_config(family.preset, family.processor.tokenizer, settings(head))
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = tied
    torch.manual_seed(3)
    return model_class(config.model_type)._from_config(config)


def batch_of(family: SimpleNamespace, kinds: list[int], side: int = 4) -> Any:
    images = random_images([((2, 3), kinds)], side, family.patch)
    return Layout(family.chat, stamp(side))(images)


def new_ids(tiny: SimpleNamespace) -> list[int]:
    found: list[int] = tiny.processor.tokenizer.convert_tokens_to_ids(["<|seg|>", "<|mask|>", "<|yes|>", "<|no|>"])
    return found


def step(model: Any, batch: Any) -> None:
    """One large step on everything that is trained."""
    trained = [p for p in model.parameters() if p.requires_grad]
    total(model.method.losses(model(inputs=batch.inputs), batch.targets)).backward()
    with torch.no_grad():
        for parameter in trained:
            if parameter.grad is not None:
                parameter -= 0.3 * parameter.grad.sign() * parameter.abs().mean().clamp(min=0.02)


def masks_and_text(model: Any, batch: Any) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        out = model.eval()(inputs=batch.inputs)
    return out.read["mask"], out.text_logits


@pytest.mark.parametrize("tied", [True, False], ids=["2b-form", "7b-form"])
def test_train_save_load_merge_save(tied: bool, family: SimpleNamespace, tmp_path: Path) -> None:
    batch = batch_of(family, [0, 1])
    base = model_of(tied, family)
    untouched = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    ids = new_ids(family)
    adapted = peft.get_peft_model(base, lora_config(base, ids))
    step(adapted, batch)
    expected = masks_and_text(adapted, batch)
    adapted.save_pretrained(tmp_path / "adapter")

    again = model_of(tied, family)
    again.load_state_dict(untouched)
    loaded = load_adapter(again, tmp_path / "adapter")
    for found, wanted in zip(masks_and_text(loaded, batch), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    merged = merge_adapter(loaded)
    merged.save_pretrained(tmp_path / "merged")
    plain = load_checkpoint(tmp_path / "merged")
    for found, wanted in zip(masks_and_text(plain, batch), expected, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    plain.save_pretrained(tmp_path / "again")
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("merged", "again"))
    assert set(first) == set(second)
    assert all(torch.equal(first[name], second[name]) for name in first)

    assert ("lm_head.weight" in first) is not tied
    embeddings, head = plain.get_input_embeddings().weight, plain.get_output_embeddings().weight
    assert (embeddings.data_ptr() == head.data_ptr()) is tied
    old = [i for i in range(len(embeddings)) if i not in ids]
    before = untouched["model.language_model.embed_tokens.weight"]
    assert torch.equal(embeddings[old], before[old])
    assert not torch.equal(embeddings[ids], before[ids])
    if not tied:
        assert torch.equal(head[old], untouched["lm_head.weight"][old])
        assert not torch.equal(head[ids], untouched["lm_head.weight"][ids])


def test_the_default_adapter_trains_rows_not_matrices_and_leaves_vision_alone(family: SimpleNamespace) -> None:
    base = model_of(True, family)
    adapted = peft.get_peft_model(base, lora_config(base, new_ids(family), rank=4))
    trained = {name: p.numel() for name, p in adapted.named_parameters() if p.requires_grad}
    assert not [name for name in trained if "visual" in name]
    rows = [count for name, count in trained.items() if "token_adapter" in name]
    assert rows == [4 * 64]
    assert sum("lora_A" in name for name in trained) == base.config.text_config.num_hidden_layers * 7
    assert any("classifier.modules_to_save" in name for name in trained)


def test_the_published_layout_loads(family: SimpleNamespace, golden_model_path: Path, tmp_path: Path) -> None:
    """An adapter file with exactly the names that the published trainer writes."""
    batch = batch_of(family, [0], side=1)
    base = model_of(False, family, head="patch")
    untouched = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    adapted = peft.get_peft_model(base, lora_config(base, new_ids(family), style="published", rank=4, alpha=8))
    assert adapted.base_model.model.model.language_model.layers[0].mlp.up_proj.scaling["default"] == 4.0
    step(adapted, batch)
    expected = masks_and_text(adapted, batch)
    adapted.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    full = [name.rpartition(".") for name in weights if "lora_" not in name and "classifier" not in name]
    names = [*weights, *(f"{a}.{kind}.{b}" for a, _, b in full for kind in ("modules_to_save", "original_module"))]
    if family.preset == "tiny":
        published = json.loads((golden_model_path / "keys.json").read_text(encoding="utf-8"))["adapter"]
        assert set(names) == set(published)
    file = {}
    for name in names:
        plain = name.replace(".modules_to_save", "").replace(".original_module", "")
        assert plain in weights, plain
        file[name] = torch.zeros_like(weights[plain]) if ".original_module" in name else weights[plain].clone()
    save_file(file, tmp_path / "adapter_model.safetensors")
    config = json.loads((tmp_path / "adapter_config.json").read_text(encoding="utf-8"))
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {"task_type": "CAUSAL_LM"}))

    again = model_of(False, family, head="patch")
    again.load_state_dict(untouched)
    for found, wanted in zip(masks_and_text(load_adapter(again, tmp_path), batch), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_an_adapter_that_does_not_fit_is_refused(tiny: SimpleNamespace, tmp_path: Path) -> None:
    base = model_of(False, tiny)
    peft.get_peft_model(base, lora_config(base, new_ids(tiny), rank=4)).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    weights["base_model.model.model.language_model.layers.9.mlp.up_proj.lora_A.weight"] = torch.zeros(4, 64)
    save_file(weights, tmp_path / "adapter_model.safetensors")
    with pytest.raises(StampModelError, match="1 unexpected"):
        load_adapter(model_of(False, tiny), tmp_path)


def test_styles_that_cannot_be(tiny: SimpleNamespace) -> None:
    base = model_of(True, tiny)
    with pytest.raises(StampModelError, match="unties"):
        lora_config(base, [1], style="published")
    with pytest.raises(StampModelError, match="no LoRA style"):
        lora_config(base, [1], style="qlora")


@pytest.mark.parametrize("style", ["default", "published"])
def test_training_goes_on_from_every_digit_on_layers_in_bfloat16(
    style: str, tiny: SimpleNamespace, tmp_path: Path
) -> None:
    ids = new_ids(tiny)
    base = model_of(False, tiny).to(torch.bfloat16)
    adapted = peft.get_peft_model(base, lora_config(base, ids, style=style, rank=4))
    trained = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
    for weight in trained.values():
        weight.data = torch.randn(weight.shape)
    adapted.save_pretrained(tmp_path)
    loaded = load_adapter(model_of(False, tiny).to(torch.bfloat16), tmp_path, trainable=True)
    found = {name: weight for name, weight in loaded.named_parameters() if weight.requires_grad}
    assert set(found) == set(trained)
    assert all(torch.equal(found[name], trained[name]) for name in trained)
