"""Added tokens and their rows in the embedding matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

_ROWS_MULTIPLE = 64  # rows are added in this multiple, a size matrix kernels like


def add_tokens(tokenizer: Any, tokens: Sequence[str]) -> list[int]:
    """Add a method's tokens to a tokenizer, in their order; those already there stay. Ids of the new ones."""
    known = tokenizer.get_vocab()
    new = [token for token in tokens if token not in known]
    if new:
        tokenizer.add_tokens(new, special_tokens=True)
    return [int(i) for i in tokenizer.convert_tokens_to_ids(new)]


@torch.no_grad()
def prepare_rows(model: Any, new_ids: list[int], real_rows: int) -> None:
    """Give new tokens their rows, in a causal model of transformers: spare ones if there are, else the matrices grow.

    Published matrices have more rows than their tokenizers have tokens. The rows of new tokens begin as the mean of the
    `real_rows` before them; a mean over all would mix in the untrained spare ones. So do spare rows that are added: nothing is
    drawn at random here, and the same recipe begins with the same weights.
    """
    if not new_ids:
        return
    before = model.get_input_embeddings().weight.shape[0]
    if max(new_ids) >= before:
        model.resize_token_embeddings(max(new_ids) + 1, pad_to_multiple_of=_ROWS_MULTIPLE, mean_resizing=False)
    matrices = {id(m.weight): m.weight for m in (model.get_input_embeddings(), model.get_output_embeddings())}
    for weight in matrices.values():
        mean = weight[:real_rows].float().mean(0).to(weight.dtype)
        weight[new_ids] = mean
        weight[before:] = mean
