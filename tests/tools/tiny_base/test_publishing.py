"""What is published is a plain Qwen2-VL that says what was scored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, Qwen2VLForConditionalGeneration

from stamp_schemas import StampError
from stamp_train.backbones.folder import is_base
from stamp_train.backbones.load import check_folder
from stamp_train.train.checksums import find_faults
from tools.tiny_base import publishing
from tools.tiny_base.batches import Batches, CachedChat
from tools.tiny_base.network import look
from tools.tiny_base.publishing import publish
from tools.tiny_base.recipe import Recipe
from tools.tiny_base.scenes import Drawn, pixels_of
from tools.tiny_base.training import Learner


@pytest.fixture(scope="module")
def folder(fresh: Callable[[], Learner], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("published") / "tiny-base"
    publish(fresh(), "| colour | 0.5 | 2 |", out)
    return out


def test_it_is_a_base_model_with_card_and_digests(folder: Path) -> None:
    check_folder(folder)
    assert is_base(folder)
    assert find_faults(folder) == []
    card = (folder / "README.md").read_text()
    assert "| colour | 0.5 | 2 |" in card and "1500000015" in card


def test_transformers_opens_it_and_computes_the_same(
    folder: Path, begun: Learner, recipe: Recipe, batches: Batches
) -> None:
    model, report = Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype="auto", output_loading_info=True)
    assert model.dtype == torch.bfloat16
    assert not report["missing_keys"] and not report["unexpected_keys"]
    model = model.float().eval()
    rows = batches.pool.asked(2)[:1]
    asked = batches.lay_out([2], [rows])
    pixels, grid = pixels_of(Drawn(recipe.scenes, recipe.scenes.train_seed, 2).picture, recipe.scenes)
    ids = asked.inputs.input_ids
    with torch.no_grad():
        seen = look(begun.network, asked.inputs)
        found = model(
            input_ids=ids,
            pixel_values=torch.from_numpy(pixels),
            image_grid_thw=torch.tensor([[1, *grid]]),
            mm_token_type_ids=(ids == model.config.image_token_id).int(),
        )
    wanted = seen.logits[0]
    assert torch.allclose(found.logits[0, asked.inputs.text_rows[0]], wanted, atol=0.05 * float(wanted.std()))


def test_its_tokenizer_knows_words_and_chat(folder: Path, begun: Learner) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "What color is the star to the left of the blue ring?"
    assert len(tokenizer(text)["input_ids"]) == 13
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}]
    told = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(told, add_special_tokens=False)["input_ids"]
    assert ids == CachedChat(begun.tokenizer).encode(messages, generation_prompt=True).ids


def test_what_is_too_large_is_not_written(
    fresh: Callable[[], Learner], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "LARGEST", 1000)
    with pytest.raises(StampError, match="more than 1,000"):
        publish(fresh(), "", tmp_path / "out")
    assert not (tmp_path / "out").exists()
