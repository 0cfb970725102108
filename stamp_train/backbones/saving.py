"""Models as folders that transformers 4.57 and 5 open alike: what the two spell differently is written in both ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stamp_train.backbones.folder import CONFIG, HEADS, PREPROCESSOR
from stamp_train.backbones.modeling import StampModel
from stamp_train.backbones.processor import StampProcessor
from stamp_train.backbones.registry import backbone_of

OLDEST = "4.57"  # version of transformers that folders are tried with
_TOKENIZER = "tokenizer_config.json"


def save_model(model: StampModel, processor: StampProcessor, folder: Path, *, text_only: bool = False) -> None:
    """Write a model with its processor into an existing folder.

    text_only: without the mask side, under the name of the architecture that it is built on, for programs that know no other.
    """
    plain = {name: weight for name, weight in model.state_dict().items() if not name.startswith(HEADS)}
    model.save_pretrained(folder, state_dict=plain if text_only else None)
    processor.save_pretrained(folder)
    spell_twice(folder)
    if text_only:
        _change(folder / CONFIG, lambda config: _as_base(config, model.backbone.classes[1]))


def spell_twice(folder: Path) -> None:
    """Add what transformers 4.57 reads to the files that transformers 5 wrote: a model's, or those of a processor alone."""
    if (folder / CONFIG).is_file():
        _change(folder / CONFIG, _config_twice)
    _change(folder / _TOKENIZER, _tokenizer_twice)
    _change(folder / PREPROCESSOR, _preprocessor_twice)


def _change(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads(path.read_bytes())
    change(values)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _config_twice(config: dict[str, Any]) -> None:
    """4.57 has the angles of positions as `rope_scaling` and `rope_theta`, and looks for the tie in the text part."""
    text = config["text_config"]
    text["tie_word_embeddings"] = config["tie_word_embeddings"]
    angles = dict(text["rope_parameters"])
    text["rope_theta"] = angles.pop("rope_theta")
    text["rope_scaling"] = {**angles, **backbone_of(config["model_type"]).rope_keys}
    config["torch_dtype"] = text["torch_dtype"] = config["dtype"]


def _tokenizer_twice(config: dict[str, Any]) -> None:
    """4.57 takes no list for `extra_special_tokens`, and names the class of tokenizers without one of their own otherwise."""
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"


def _preprocessor_twice(config: dict[str, Any]) -> None:
    """Older programs know the bounds of an image's pixels by these names alone."""
    config["min_pixels"], config["max_pixels"] = config["size"]["shortest_edge"], config["size"]["longest_edge"]


def _as_base(config: dict[str, Any], name: str) -> None:
    config["architectures"] = [name]
    config.pop("stamp", None)
