"""From a recipe to a network that can be trained, and from a trained one to a plain checkpoint."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch

from stamp_schemas import StampError, UsageFault
from stamp_schemas.recipe import Recipe
from stamp_train.backbones.base import base_of, check_base, fetch, read_base, write_base
from stamp_train.backbones.folder import is_base
from stamp_train.backbones.load import check_folder, load_checkpoint, start_from
from stamp_train.backbones.lora import load_adapter, lora_config, merge_adapter, wrap
from stamp_train.backbones.presets import build_random
from stamp_train.backbones.processor import StampProcessor, make_images, open_images, open_tokenizer
from stamp_train.backbones.saving import save_model, spell_twice
from stamp_train.generation.prompts import check_rows
from stamp_train.sequence.errors import reading
from stamp_train.sequence.tokens import add_tokens, prepare_rows
from stamp_train.train.checksums import write_checksums
from stamp_train.train.corpus import new_tokenizer, records_of

ADAPTER = "adapter"  # folder of a checkpoint that holds an adapter instead of a whole model


def build_network(recipe: Recipe, checkpoint: Path | None = None) -> tuple[Any, StampProcessor]:
    """The network of a recipe in training mode, and its processor.

    Weights that are trained are float32 whatever the precision of the layers: bfloat16 has too few digits to add small steps
    to. Frozen ones under an adapter are in the precision of the layers. checkpoint: weights to go on from, instead of those
    that the recipe starts with. StampModelError: they do not fit. StampError: the start is no checkpoint, a damaged one, or
    lacks what the method's training takes.
    """
    adapted = recipe.model.tuning == "lora"
    dtype = torch.bfloat16 if adapted and recipe.model.precision == "bf16" else torch.float32
    network, processor = _base(recipe, checkpoint, dtype)
    if adapted:
        network = _adapt(network, processor, recipe, checkpoint)
    if not recipe.model.tower_learns:
        _plain(network).model.visual.requires_grad_(False)
    _prepare(_plain(network), recipe, checkpoint or Path(recipe.model.start))
    for weight in network.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    if recipe.model.gradient_checkpointing:
        _recompute(network)
    network.train()
    return network, processor


def _prepare(network: Any, recipe: Recipe, where: Path) -> None:
    """Give the network the method's settings that are the run's own; UsageFault if it is of another method."""
    its = network.method.settings
    if its.name != recipe.method.name:
        raise UsageFault(
            f"{where}: a checkpoint of method {its.name}, the recipe's is {recipe.method.name}",
            f"--set method={its.name}, or begin with a base model",
        )
    network.method = recipe.method.over(its).method()
    network.method.prepare(network)


def _base(recipe: Recipe, checkpoint: Path | None, dtype: torch.dtype) -> tuple[Any, StampProcessor]:
    """The model without an adapter, and its processor with the recipe's bounds of the image size."""
    model, data = recipe.model, recipe.data
    network: Any
    if checkpoint is not None and model.tuning != "lora":
        check_folder(checkpoint)
        processor = StampProcessor.from_pretrained(checkpoint)
        processor.bound(data.min_tokens, data.max_tokens)
        network = load_checkpoint(checkpoint, dtype=dtype)
        check_rows(network, processor.chat)
        return network, processor
    if model.preset:
        tokenizer, method = new_tokenizer(recipe), recipe.method.complete()
        network = build_random(model, tokenizer, method, recipe.seed, dtype)
        method.method().begin_readout(network.classifier, lambda: records_of(recipe))
        images = make_images(network.backbone, data.min_tokens, data.max_tokens)
        return network, StampProcessor(tokenizer, images, network.backbone)
    folder = _start_folder(recipe, checkpoint)
    tokenizer = open_tokenizer(folder)
    network = _open_start(folder, recipe, tokenizer, dtype)
    network.stamp_base = base_of(model.start, folder, network)
    processor = StampProcessor(tokenizer, open_images(folder, network.backbone), network.backbone)
    processor.bound(data.min_tokens, data.max_tokens)
    return network, processor


def _recompute(network: Any) -> None:
    """Activations are computed again for the backward pass. Versions of transformers before 5.20 have the older name alone."""
    plain = _plain(network)
    getattr(plain, "activation_checkpointing_enable", plain.gradient_checkpointing_enable)()


def _start_folder(recipe: Recipe, checkpoint: Path | None) -> Path:
    """The folder of the weights that a recipe starts with, looked through for what opening it needs.

    checkpoint: whose adapter goes onto them; it knows their place where the recipe's is no longer right.
    """
    known = read_base(checkpoint / ADAPTER) if checkpoint else None
    try:
        try:
            folder = fetch(recipe.model.start)
        except UsageFault:
            if known is None or known.start == recipe.model.start:
                raise
            folder = fetch(known.start)
        check_folder(folder)
    except StampError as fault:
        kind = UsageFault if isinstance(fault, UsageFault) else StampError
        hint = "--base FOLDER names the model that the run began with" if known else fault.hint
        what = f"{checkpoint}: its base model" if known else "model.start"
        raise kind(f"{what}: {fault.message}", hint) from None
    if checkpoint:
        check_base(checkpoint / ADAPTER, folder)
    return folder


def _open_start(folder: Path, recipe: Recipe, tokenizer: Any, dtype: torch.dtype) -> Any:
    """A checkpoint as it is; a base model with a new readout, and rows for the tokens that its tokenizer lacks."""
    new_ids = add_tokens(tokenizer, recipe.method.tokens)
    if is_base(folder):
        method = recipe.method.complete()
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)  # the readout is drawn at random
            network = start_from(folder, method, dtype=dtype)
        method.method().begin_readout(network.classifier, lambda: records_of(recipe))
    else:
        network = load_checkpoint(folder, dtype=dtype)
    prepare_rows(network, new_ids, len(tokenizer) - len(new_ids))
    return network


def _adapt(network: Any, processor: StampProcessor, recipe: Recipe, checkpoint: Path | None) -> Any:
    if checkpoint is not None:
        with reading(checkpoint / ADAPTER):
            return load_adapter(network, checkpoint / ADAPTER, trainable=True)
    ids = processor.tokenizer.convert_tokens_to_ids(list(recipe.method.tokens))
    lora = recipe.model.lora
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)  # LoRA's first matrix is drawn at random
        return wrap(network, lora_config(network, ids, style=lora.style, rank=lora.rank, alpha=lora.alpha))


def _plain(network: Any) -> Any:
    return network.get_base_model() if hasattr(network, "get_base_model") else network


def without_weights(network: Any) -> Any:
    """A copy that holds no numbers (torch's meta device), to be saved with weights from elsewhere.

    A network that trains in another thread does not bear to be asked for its state: FSDP then cuts up the weights in use.
    """
    tensors = [*network.parameters(), *network.buffers()]
    empty: dict[int, Any] = {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors}
    for weight in network.parameters():
        empty[id(weight)] = torch.nn.Parameter(empty[id(weight)], weight.requires_grad)
    return copy.deepcopy(network, empty)


def save_network(network: Any, processor: StampProcessor, folder: Path, weights: dict[str, Any] | None = None) -> None:
    """Write what training has to go on from: the whole model as a Hugging Face folder, or the adapter alone.

    network: may be `without_weights`, which are given then. folder: an existing one.
    """
    target = folder / ADAPTER if hasattr(network, "peft_config") else folder
    network.save_pretrained(target, state_dict=weights)
    if target != folder and (base := getattr(_plain(network), "stamp_base", None)):
        write_base(target, base)
    processor.save_pretrained(folder)
    spell_twice(folder)


def save_final(network: Any, processor: StampProcessor, folder: Path, precision: str) -> None:
    """Write the finished model: adapters merged, weights in the precision that the layers ran in."""
    plain = merge_adapter(network) if hasattr(network, "peft_config") else network
    if precision == "bf16":
        plain = plain.to(torch.bfloat16)
    save_model(plain, processor, folder)
    write_checksums(folder)
