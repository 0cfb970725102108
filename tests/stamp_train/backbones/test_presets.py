"""Models with random weights."""

from pathlib import Path

import pytest
import torch

from stamp_train.backbones.modeling import model_class
from stamp_train.backbones.presets import build_preset, preset_config
from stamp_train.sequence.errors import StampModelError


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


def test_a_preset_is_repeatable_and_takes_a_tokenizer_folder(golden_model_path: Path) -> None:
    (first, _), (second, _) = build_preset("tiny", seed=5), build_preset("tiny", seed=5)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    model, processor = build_preset("tiny", golden_model_path)
    assert model.get_input_embeddings().num_embeddings >= len(processor.tokenizer) == 434
    assert model.config.image_token_id == processor.chat.image_id == 428
