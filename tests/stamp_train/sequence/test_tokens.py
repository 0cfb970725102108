"""Rows of the embedding matrices: spare ones are used, real ones are never lost."""

from pathlib import Path

import pytest
import torch

from stamp_train.backbones.load import load_checkpoint
from stamp_train.backbones.modeling import StampModel, model_class
from stamp_train.backbones.presets import byte_tokenizer, preset_config
from stamp_train.sequence.tokens import prepare_rows


def model_of(tied: bool) -> StampModel:
    config = preset_config("tiny", byte_tokenizer())
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = tied
    return model_class("qwen2_vl")._from_config(config)


@pytest.mark.parametrize("tied", [True, False])
def test_new_tokens_take_spare_rows_and_begin_as_the_mean_of_real_ones(tied: bool) -> None:
    model = model_of(tied)
    matrices = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    with torch.no_grad():
        for matrix in matrices:
            matrix[300:] = 1000.0  # spare rows must not enter the mean
    size = len(matrices[0])
    means = [matrix[:300].mean(0).detach() for matrix in matrices]
    prepare_rows(model, [301, 300], 300)
    for matrix, mean in zip(matrices, means, strict=True):
        assert len(matrix) == size
        torch.testing.assert_close(matrix[300].detach(), mean)
        torch.testing.assert_close(matrix[301].detach(), mean)
        assert (matrix[302:] == 1000.0).all()


def test_a_full_matrix_grows_and_never_shrinks() -> None:
    model = model_of(True)
    size = model.get_input_embeddings().num_embeddings
    before = model.get_input_embeddings().weight.detach().clone()
    prepare_rows(model, [size, size + 1], size)
    after = model.get_input_embeddings().weight
    assert len(after) == size + 64
    assert torch.equal(after[:size].detach(), before)
    assert model.get_output_embeddings().weight.data_ptr() == after.data_ptr()
    prepare_rows(model, [], 10)
    assert len(model.get_input_embeddings().weight) == size + 64


def test_nothing_is_drawn_at_random() -> None:
    """Two runs of one recipe begin with the same weights; rows that are added are in every softmax over the vocabulary."""
    grown = []
    for seed in (1, 2):
        torch.manual_seed(0)
        model = model_of(True)
        size = model.get_input_embeddings().num_embeddings
        torch.manual_seed(seed)
        prepare_rows(model, [size], size)
        grown.append(model.get_input_embeddings().weight.detach())
    assert torch.equal(*grown)


def test_a_matrix_of_exactly_the_tokenizers_size_loads(golden_model_path: Path) -> None:
    assert load_checkpoint(golden_model_path).get_input_embeddings().num_embeddings == 434
