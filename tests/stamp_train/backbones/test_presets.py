"""Models with random weights."""

from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch

from stamp_schemas.recipe import Model
from stamp_train.backbones.load import read_config
from stamp_train.backbones.modeling import model_class
from stamp_train.backbones.presets import build_preset, byte_tokenizer, preset_config
from stamp_train.backbones.registry import PRESETS, recipe_backbone, released
from stamp_train.sequence.errors import StampModelError

DATA = Path(__file__).parents[2] / "data"


def test_presets_have_the_released_shapes() -> None:
    tokenizer = build_preset("tiny")[1].tokenizer
    for name, rows, hidden, tied in (("2b", 151936, 1536, True), ("7b", 152064, 3584, False)):
        config = preset_config(name, tokenizer)
        assert (config.text_config.vocab_size, config.text_config.hidden_size) == (rows, hidden)
        assert config.tie_word_embeddings is tied
        with torch.device("meta"):
            model = model_class("qwen2_vl")._from_config(config)
        billions = sum(p.numel() for p in model.parameters()) / 1e9
        assert billions == pytest.approx({"2b": 2.21, "7b": 8.29}[name], abs=0.02)
    with pytest.raises(StampModelError, match="no preset '13b'"):
        preset_config("13b", tokenizer)


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("2b", "qwen2-vl-2b"), ("7b", "qwen2-vl-7b"), ("qwen2.5-7b", "qwen2.5-vl-7b"),
        ("qwen3-2b", "qwen3-vl-2b"), ("qwen3-4b", "qwen3-vl-4b"), ("qwen3-8b", "qwen3-vl-8b"),
    ],
)  # fmt: skip
def test_presets_are_what_the_published_files_say(name: str, published: str) -> None:
    found, told = preset_config(name, byte_tokenizer()), read_config(DATA / "hub" / published)
    assert type(found) is type(told) and found.tie_word_embeddings == told.tie_word_embeddings
    for part in ("text_config", "vision_config"):
        ours, theirs = getattr(found, part).to_dict(), getattr(told, part).to_dict()
        ids = {key for key in theirs if key.endswith("token_id")}  # of a tokenizer of bytes
        unused = {"max_window_layers", "torch_dtype", "dtype", "rope_scaling", "spatial_patch_size", "in_chans"}
        unused |= {"rope_parameters", "tie_word_embeddings", "tokens_per_second", "sliding_window"}
        for key in theirs.keys() - ids - unused:
            assert ours[key] == theirs[key], key
    ours, theirs = found.text_config.rope_parameters, told.text_config.rope_parameters
    for key in ("rope_theta", "mrope_section", "mrope_interleaved"):
        assert ours.get(key) == theirs.get(key)


def test_released_models_are_known_by_name() -> None:
    names = (
        "Qwen/Qwen2-VL-2B-Instruct",
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "Qwen/Qwen3-VL-8B-Thinking",
        "Qwen/Qwen3-VL-32B",
    )
    assert [released(name) for name in names] == ["2b", "qwen2.5-7b", "qwen3-8b", ""]
    assert set(get_args(get_type_hints(Model)["preset"])) == {"", *PRESETS}
    for start, factor in zip(names, (28, 28, 32, 28), strict=True):
        assert recipe_backbone(Model(start=start)).factor == factor
    assert recipe_backbone(Model(start=str(DATA / "hub" / "qwen3-vl-4b"))).factor == 32


def test_a_preset_is_repeatable_and_takes_a_tokenizer_folder(golden_model_path: Path) -> None:
    (first, _), (second, _) = build_preset("tiny", seed=5), build_preset("tiny", seed=5)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    model, processor = build_preset("tiny", golden_model_path)
    assert model.get_input_embeddings().num_embeddings >= len(processor.tokenizer) == 434
    assert model.config.image_token_id == processor.chat.image_id == 428
