"""Models as folders that transformers 4.57 and 5 open alike: what the two spell differently is written in both ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stamp_train.backbones.folder import CONFIG, HEADS, PREPROCESSOR
from stamp_train.backbones.modeling import StampForQwen2_5VL, StampForQwen2VL
from stamp_train.backbones.processor import StampProcessor

OLDEST = "4.57"  # version of transformers that folders are tried with
_TOKENIZER = "tokenizer_config.json"


def save_model(model: Any, processor: StampProcessor, folder: Path, *, text_only: bool = False) -> None:
    """Write a model with its processor into an existing folder.

    text_only: without the mask side, under the name of the architecture that it is built on, for programs that know no other.
    """
    plain = _plain_state(model) if text_only else None
    model.save_pretrained(folder, state_dict=plain)
    processor.save_pretrained(folder)
    spell_twice(folder)
    if text_only:
        _change(folder / CONFIG, lambda config: _as_base(config, _base_name(model)))


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
    text["rope_scaling"] = {**angles, "type": "mrope"}
    config["torch_dtype"] = text["torch_dtype"] = config["dtype"]


def _tokenizer_twice(config: dict[str, Any]) -> None:
    """4.57 takes no list for `extra_special_tokens`, and names the class of tokenizers without one of their own otherwise."""
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"


def _preprocessor_twice(config: dict[str, Any]) -> None:
    """Older programs know the bounds of a picture's pixels by these names alone."""
    config["min_pixels"], config["max_pixels"] = config["size"]["shortest_edge"], config["size"]["longest_edge"]


def _base_name(model: Any) -> str:
    """The class of transformers that a STAMP class is built on."""
    return next(kind.__name__ for kind in type(model).__mro__ if kind.__module__.startswith("transformers."))


def _as_base(config: dict[str, Any], name: str) -> None:
    config["architectures"] = [name]
    config.pop("stamp", None)


def _plain_state(model: StampForQwen2VL | StampForQwen2_5VL) -> dict[str, Any]:
    return {name: weight for name, weight in model.state_dict().items() if not name.startswith(HEADS)}
