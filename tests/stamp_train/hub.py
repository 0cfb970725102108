"""Base models in the layout of the hub, small: published configuration files and tensor names, shrunk in width and depth.

`tests/data/hub` holds, of five published models, the configuration files as they are (tokenizer_config.json without its
template) and the names of their tensors, `*` for the number of a layer; those of Qwen3-VL-4B are taken from the 8B's index.
Widths, depths and ids of tokens are made to fit the golden tokenizer; keys, their places and everything else stay.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig

from stamp_train.backbones.registry import BACKBONES
from stamp_train.methods.stamp.settings import StampSettings

DATA = Path(__file__).parent.parent / "data"
GOLDEN = DATA / "golden" / "stamp_tiny"
KINDS = {  # published model whose files are shrunk, and whether its embeddings are tied
    "qwen2-vl-2b": ("qwen2-vl-2b", True),
    "qwen2-vl-7b": ("qwen2-vl-7b", False),
    "qwen2.5-vl-3b": ("qwen2.5-vl-7b", True),
    "qwen2.5-vl-7b": ("qwen2.5-vl-7b", False),
    "qwen3-vl-4b": ("qwen3-vl-4b", True),
    "qwen3-vl-8b": ("qwen3-vl-8b", False),
}
LAYERS = 2
MROPE = {"qwen2_vl": [2, 3, 3], "qwen2_5_vl": [2, 3, 3], "qwen3_vl": [4, 2, 2]}
ROWS = 448  # of the embeddings: as published, more than the tokenizer has tokens
_TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
    "num_hidden_layers": LAYERS, "max_window_layers": LAYERS, "vocab_size": ROWS,
}  # fmt: skip
_VISION: dict[str, dict[str, Any]] = {
    "qwen2_vl": {"depth": LAYERS, "embed_dim": 32, "num_heads": 2, "hidden_size": 64},
    "qwen2_5_vl": {
        "depth": LAYERS, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64,
        "fullatt_block_indexes": [1],
    },
    "qwen3_vl": {
        "depth": LAYERS, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 64,
        "num_position_embeddings": 64, "deepstack_visual_indexes": list(range(LAYERS)),
    },
}  # fmt: skip


def make_base(folder: Path, kind: str = "qwen2-vl-2b", seed: int = 0, nested: bool = False) -> Path:
    """A base model with random weights.

    nested: with `text_config`, as later versions of transformers write it; else flat, as on the hub.
    """
    folder.mkdir(parents=True)
    published, tied = KINDS[kind]
    config = _config(json.loads((DATA / "hub" / published / "config.json").read_bytes()), tied)
    _write(folder / "config.json", config)
    weights = _weights(folder, config["model_type"], tied, seed)
    names = _names(published, tied)
    assert set(weights) == set(names), set(weights) ^ set(names)  # those of the published files
    _save_in_shards(folder, {name: weights[name] for name in names})
    _write_tokenizer(folder, published)
    generation = json.loads((DATA / "hub" / published / "generation_config.json").read_bytes())
    _write(folder / "generation_config.json", generation | _ids(generation))
    preprocessor = DATA / "hub" / published / "preprocessor_config.json"
    (folder / "preprocessor_config.json").write_bytes(preprocessor.read_bytes())
    template = DATA / "hub" / published / "chat_template.json"  # the others have the golden one
    told = json.loads(template.read_bytes())["chat_template"] if template.is_file() else None
    _write(
        folder / "chat_template.json", {"chat_template": told or (GOLDEN / "chat_template.jinja").read_text("utf-8")}
    )
    if nested:
        AutoConfig.from_pretrained(folder).save_pretrained(folder)
    return folder


def _config(published: dict[str, Any], tied: bool) -> dict[str, Any]:
    """A configuration shrunk, its text part flat or nested as it was published."""
    vision = {**published["vision_config"], **_VISION[published["model_type"]]}
    text = published.get("text_config", published)
    small = {key: value for key, value in _TEXT.items() if key in text} | _ids(text)
    small["rope_scaling"] = {**text["rope_scaling"], "mrope_section": MROPE[published["model_type"]]}
    small |= {"head_dim": 16} if "head_dim" in text else {}
    small |= {"tie_word_embeddings": tied} if "tie_word_embeddings" in text else {}
    if text is published:
        return published | small | {"vision_config": vision}
    top = {"tie_word_embeddings": tied, "vision_config": vision, "text_config": text | small}
    return published | top | _ids(published)


def _ids(values: dict[str, Any]) -> dict[str, Any]:
    """The golden tokenizer's ids of the control tokens that `values` names."""
    tokens = json.loads((GOLDEN / "added_tokens.json").read_bytes())
    first = 151643  # the published id of the first control token; they are in one order in both
    base = min(tokens.values())

    def moved(value: Any) -> Any:
        return [moved(one) for one in value] if isinstance(value, list) else value - first + base

    return {key: moved(value) for key, value in values.items() if key.endswith("token_id")}


def _weights(folder: Path, model_type: str, tied: bool, seed: int) -> dict[str, torch.Tensor]:
    """Random weights under the published names, in bfloat16."""
    kind: Any = getattr(transformers, BACKBONES[model_type].classes[1])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind._from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    flat = model_type != "qwen3_vl"  # whose files have the names of transformers
    return {
        _flat(name) if flat else name: weight.bfloat16().clone()
        for name, weight in model.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }


def _flat(name: str) -> str:
    return name.replace("model.language_model.", "model.").replace("model.visual.", "visual.")


def _names(published: str, tied: bool) -> list[str]:
    patterns: list[str] = json.loads((DATA / "hub" / published / "names.json").read_bytes())
    numbered = [name.replace("*", str(i)) for name in patterns for i in range(LAYERS if "*" in name else 1)]
    return [name for name in numbered if not (tied and name == "lm_head.weight")]


def _save_in_shards(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Two files and their index. As published, the cut goes through a layer."""
    names = list(weights)
    index: dict[str, Any] = {"metadata": {"total_size": sum(2 * w.numel() for w in weights.values())}, "weight_map": {}}
    for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), start=1):
        file = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
        index["weight_map"] |= dict.fromkeys(part, file)
    _write(folder / "model.safetensors.index.json", index)


def _write_tokenizer(folder: Path, published: str) -> None:
    """The golden tokenizer without the tokens that STAMP adds, in the files that the hub has of Qwen's."""
    tokenizer = json.loads((GOLDEN / "tokenizer.json").read_bytes())
    tokenizer["added_tokens"] = [
        token for token in tokenizer["added_tokens"] if token["content"] not in StampSettings.tokens
    ]
    _write(folder / "tokenizer.json", tokenizer)
    config = json.loads((DATA / "hub" / published / "tokenizer_config.json").read_bytes())
    kept = {str(token["id"]): token for token in tokenizer["added_tokens"]}
    config["added_tokens_decoder"] = {
        number: {key: value for key, value in token.items() if key != "id"} for number, token in kept.items()
    }
    _write(folder / "tokenizer_config.json", config)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).write_bytes((GOLDEN / name).read_bytes())


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
