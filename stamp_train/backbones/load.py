"""Opening models: strictly, so that no weight is left random without a word, and looked through before a weight is loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoTokenizer

from stamp_schemas import StampError, UsageFault
from stamp_train.backbones.base import RECORD, check_base, fetch, read_base
from stamp_train.backbones.folder import (
    CONFIG,
    HEADS,
    PREPROCESSOR,
    check_json,
    check_tokenizer,
    is_base,
    read_told,
    stored_weights,
)
from stamp_train.backbones.modeling import StampModel, model_class, names_in_model
from stamp_train.methods import default_settings, settings_of, store
from stamp_train.methods.contract import Settings
from stamp_train.sequence.environment import unheard
from stamp_train.sequence.errors import StampModelError, reading
from stamp_train.sequence.tokens import add_tokens, prepare_rows


def read_config(folder: str | Path) -> Any:
    """The configuration of a model's folder, flat as on the hub or nested as transformers 5 writes it; StampModelError if it is
    damaged, or of a family that nothing is built on."""
    read_told(folder)
    path = Path(folder, CONFIG)
    with unheard("transformers.modeling_rope_utils"):  # older versions miss a check for what newer ones write
        config = _tried(path, lambda: AutoConfig.from_pretrained(folder))
    # Where files say it in one of the two places, versions of transformers read it in one or the other.
    tied = bool(config.tie_word_embeddings or getattr(config.text_config, "tie_word_embeddings", False))
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = tied
    return config


def load_checkpoint(path: str | Path, *, dtype: torch.dtype | str = "auto") -> StampModel:
    """Open a STAMP checkpoint, ours or a published one (whose head is `patch` and mask positions `sequential`).

    path: a folder or a name on the hub. dtype: of the weights; `auto` keeps the stored one. UsageFault if
    there is no such folder, StampModelError if a weight is missing, left over or of another shape.
    """
    folder = fetch(str(path))
    return _open(folder, read_config(folder), (), dtype)


def start_from(path: str | Path, method: Settings | None = None, *, dtype: torch.dtype | str = "auto") -> StampModel:
    """Open a base model to become a STAMP one; its readout begins at random. As `load_checkpoint`.

    method: and its settings; by default those of new models. The added tokens are not prepared here: see
    `stamp_train.sequence.tokens`.
    """
    folder = fetch(str(path))
    config = read_config(folder)
    store(method or default_settings(), config)
    return _open(folder, config, HEADS, dtype)


def open_adapted(adapter: Path, base: str = "") -> StampModel:
    """The model that one of our adapters belongs to, with the adapter worked in, as its own config and record say. Needs peft.

    base: where that model is, if not where it was. StampError: it is gone or another, or the adapter says too little.
    """
    from stamp_train.backbones.lora import load_adapter, merge_adapter

    known = read_base(adapter)
    if known is None or known.stamp is None:
        raise StampError(f"{adapter}: does not say what it was trained on", "export it with the version that wrote it")
    try:
        folder = fetch(base or known.start)
        check_folder(folder)
    except StampError as fault:
        kind, hint = type(fault), "--base FOLDER names the model that the run began with"
        raise (UsageFault if kind is UsageFault else StampError)(
            f"{adapter}: its base: {fault.message}", hint
        ) from None
    check_base(adapter, folder)
    config, new = read_config(folder), is_base(folder)
    if new:
        config.stamp = known.stamp
    dtype: Any = getattr(torch, known.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise StampError(f"{adapter / RECORD}: no precision {known.dtype[:60]!r}")
    model = _open(folder, config, HEADS if new else (), dtype)
    with reading(adapter):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        new_ids = add_tokens(tokenizer, settings_of(config).tokens)
        prepare_rows(model, new_ids, len(tokenizer) - len(new_ids))
        merged: StampModel = merge_adapter(load_adapter(model, adapter, trainable=True)).to(dtype)  # in all digits
    return merged


def _open(folder: Path, config: Any, may_be_new: tuple[str, ...], dtype: torch.dtype | str) -> StampModel:
    opener: Any = model_class(config.model_type).from_pretrained
    model: StampModel
    # Its report of weights is silenced: what matters of that is refused here, in a line.
    with unheard("transformers.modeling_utils"), reading(folder):
        model, report = opener(folder, config=config, dtype=dtype, output_loading_info=True)
    _refuse_misfit(
        folder,
        missing=[key for key in report["missing_keys"] if not key.startswith(may_be_new)],
        unexpected=report["unexpected_keys"],
        shapes=list(map(str, report["mismatched_keys"])),
    )
    return model


def outline(config: Any) -> StampModel:
    """The model of a configuration without numbers (torch's meta device); StampModelError if none can be built so."""
    with torch.device("meta"):
        build: Any = model_class(config.model_type)._from_config
        model: StampModel = build(config, dtype=torch.float32)
        return model


def check_folder(folder: Path) -> None:
    """Look at everything that opening a STAMP or base model needs, without loading a weight; StampModelError says what is
    missing, damaged, or does not fit."""
    config = read_config(folder)
    check_tokenizer(folder)
    check_json(folder / PREPROCESSOR)
    _check_weights(folder, config)


def _check_weights(folder: Path, config: Any) -> None:
    """Compare the headers of the weight files with a configuration."""
    base = is_base(folder)
    store(settings_of(config), config)
    model = _tried(folder / CONFIG, lambda: outline(config))
    wanted = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    stored = stored_weights(folder)
    names = names_in_model(config.model_type, stored)
    found = {names[name]: weight.shape for name, weight in stored.items()}
    may_lack = [name for name in wanted if base and name.startswith(HEADS)]
    if config.tie_word_embeddings:
        may_lack.append("lm_head.weight")
    _refuse_misfit(
        folder,
        missing=wanted.keys() - found.keys() - set(may_lack),
        unexpected=found.keys() - wanted.keys(),
        shapes=[
            f"{name} {list(found[name])}, not {list(wanted[name])}"
            for name in wanted
            if name in found and found[name] != wanted[name]
        ],
    )


def _refuse_misfit(where: Path, missing: Collection[str], unexpected: Collection[str], shapes: Collection[str]) -> None:
    """StampModelError if there is anything in these lists of weights."""
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    told = "; ".join(f"{len(keys)} {kind} ({', '.join(sorted(keys)[:3])})" for kind, keys in kinds.items() if keys)
    if told:
        raise StampModelError(
            f"weights do not fit the model: {told}",
            where=str(where),
            fix="a base model without a mask head is opened with start_from",
        )


def _tried(path: Path, call: Callable[[], Any]) -> Any:
    """What transformers makes of a configuration, whose many exceptions for a bad one become ours."""
    with reading(path):
        try:
            return call()
        except StampModelError as fault:
            raise StampModelError(fault.message, where=str(path), fix=fault.hint) from None
