"""LoRA: our default, the published layout, and the way back to a plain checkpoint. Needs peft."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

from stamp_train.sequence.errors import StampModelError

WEIGHTS = "adapter_model.safetensors"
_WRAPPED = re.compile(r"\.modules_to_save(\.default)?(?=\.)")


def lora_config(model: Any, new_ids: list[int], *, style: str = "default", rank: int = 64, alpha: int = 128) -> Any:
    """Settings (peft.LoraConfig) of an adapter on the language model; the vision tower stays as it is.

    new_ids: of the added tokens. style: `default` trains the mask head and, of the embedding matrices, the new rows only, which
    keeps a tied pair tied and the adapter small; `published` trains embeddings, output matrix and head in full, and scales by
    alpha / sqrt(rank), as the published 7B adapters do. StampModelError as `check_style`.
    """
    from peft import LoraConfig

    tied = bool(model.config.tie_word_embeddings)
    check_style(style, tied=tied)
    adapted = rf".*{model.backbone.adapted}"
    common = {"r": rank, "lora_alpha": alpha, "lora_dropout": 0.05, "target_modules": adapted}
    if style == "default":
        rows = {"embed_tokens": new_ids} if tied else {"embed_tokens": new_ids, "lm_head": new_ids}
        # None for methods that add no token: peft takes an empty list, and fails in the first pass.
        return LoraConfig(**common, trainable_token_indices=rows if new_ids else None, modules_to_save=["classifier"])
    return LoraConfig(**common, use_rslora=True, modules_to_save=["embed_tokens", "lm_head", "classifier"])


def check_style(style: str, *, tied: bool) -> None:
    """Refuse a style that there is not (StampModelError), or `published` on tied embeddings, which it would train apart."""
    if style not in ("default", "published"):
        raise StampModelError(f"no LoRA style {style!r}", fix="choose default or published")
    if style == "published" and tied:
        raise StampModelError(
            "the published LoRA layout unties the embeddings of this model", fix="use style='default' on tied models"
        )


def wrap(model: Any, config: Any) -> Any:
    """The model with a new adapter."""
    from peft import get_peft_model

    with warnings.catch_warnings():
        # peft asks transformers under a name that is going out of use.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        # peft 0.18 takes embeddings for tied by the model's class; where they are, `check_style` has refused already.
        warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`", UserWarning)
        # A base that has moved: what counts is the digest of its weights.
        warnings.filterwarnings("ignore", "The PEFT config's `base_model_name_or_path` was renamed", UserWarning)
        return get_peft_model(model, config)


def load_adapter(model: Any, path: str | Path, *, trainable: bool = False) -> Any:
    """Put a saved adapter, ours or a published one, on a model (peft.PeftModel); StampModelError if they do not fit.

    trainable: its weights are float32, as they were trained, whatever the precision of the model. Published files hold every
    fully trained module up to three times (as it is, as `modules_to_save`, and the untouched `original_module`); one is kept.
    """
    from peft import PeftConfig, set_peft_model_state_dict
    from peft.utils import load_peft_weights

    if not Path(path, WEIGHTS).is_file():  # peft would take pickles, or ask a hub
        raise StampModelError(f"no {WEIGHTS}", where=str(path), fix="weights are read from safetensors alone")
    config = PeftConfig.from_pretrained(str(path))
    config.inference_mode = not trainable
    # Without a task type PEFT's wrapper hands all arguments through; its causal-LM one knows nothing of packed inputs.
    config.task_type = None
    adapted = wrap(model, config)
    for weight in adapted.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()  # first, since what is trained would lose digits on layers in bfloat16
    weights = {
        _WRAPPED.sub("", name): tensor
        for name, tensor in load_peft_weights(str(path), device="cpu").items()
        if ".original_module." not in name
    }
    report = set_peft_model_state_dict(adapted, weights)
    missing = [name for name in report.missing_keys if "lora_" in name or "modules_to_save" in name]
    if missing or report.unexpected_keys:
        raise StampModelError(
            f"adapter does not fit: {len(missing)} missing {missing[:3]}, "
            f"{len(report.unexpected_keys)} unexpected {report.unexpected_keys[:3]}",
            where=str(path),
        )
    return adapted


def merge_adapter(adapted: Any) -> Any:
    """The plain model with the adapter's weights worked in, to be saved as an ordinary checkpoint; StampModelError if the
    embeddings were tied and the adapter has parted them."""
    merged = adapted.merge_and_unload()
    if merged.config.tie_word_embeddings:
        embeddings, head = merged.get_input_embeddings().weight, merged.get_output_embeddings().weight
        if embeddings.data_ptr() != head.data_ptr():
            raise StampModelError(
                "the adapter trained embeddings and output matrix apart", fix="train with lora_config(style='default')"
            )
    merged.method.know(merged.classifier)
    return merged
