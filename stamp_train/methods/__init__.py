"""Ways to get masks out of a language model, a folder each. A method is opened by its name; only this module knows all names.

Importing this loads no torch, nor does opening settings.
"""

from __future__ import annotations

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import msgspec

from stamp_schemas import UsageFault
from stamp_train.sequence.errors import StampModelError

if TYPE_CHECKING:
    from stamp_train.methods.contract import Settings

METHODS = {  # name -> module and class of its settings
    "stamp": "stamp_train.methods.stamp.settings:StampSettings",
    "text4seg": "stamp_train.methods.text4seg.settings:Text4SegSettings",
    "embedding": "stamp_train.methods.embedding.settings:EmbeddingSettings",
    "self1e": "stamp_train.methods.self1e.settings:Self1eSettings",
    "argenseg": "stamp_train.methods.argenseg.settings:ArgensegSettings",
}
VARIANTS: dict[str, dict[str, Any]] = {
    "stamp-patch": {"name": "stamp", "head": "patch"},
    "stamp-fine": {"name": "stamp", "head": "fine"},
    "self1e-branch": {"name": "self1e", "attention": "branch"},
    "argenseg-residual": {"name": "argenseg", "codec": "residual"},
    "text4seg-16": {"name": "text4seg", "grid": 16},
    "text4seg-24": {"name": "text4seg", "grid": 24},
    "embedding-dot": {"name": "embedding", "head": "dot"},
}
"""Settings that `stamp-train compare` calls by a name."""
DEFAULT = "stamp"  # of recipes and checkpoints that name none
# Keys of older recipes -> where they stand now.
MOVED = {
    "model.head": "method.head",
    "model.mask_positions": "method.mask_positions",
    "model.head_width": "method.head_width",
    "loss": "method.loss",
}
# Keys of older recipes that are no more -> the value with which they said nothing.
GONE: dict[str, Any] = {
    "model.head_words": 0,
    "model.scratch.near": False,
    "model.scratch.readout": 1.0,
    "model.freeze_patches": False,
    "naming": 0.0,
    "early": 0.0,
    "method.demo": None,
}


def settings_type(name: Any) -> type[Settings]:
    """The settings of a method; UsageFault if there is none of that name."""
    if name not in METHODS:
        raise UsageFault(f"no method {name!r}", f"choose one of {', '.join(METHODS)}")
    found: type[Settings] = resolve_name(METHODS[name])
    return found


def codes_maker() -> Any:
    """What `stamp-train codes` calls."""
    return resolve_name("stamp_train.methods.argenseg.making:make_codes")


def default_settings() -> Settings:
    """The settings of new models, where nothing else is asked for."""
    return settings_type(DEFAULT)()


def settings_of(config: Any) -> Settings:
    """The settings that a transformers config holds under `stamp`; those of the published form if it has none.

    Raises StampModelError if they are none.
    """
    stored = getattr(config, "stamp", None)
    name = stored.get("name", DEFAULT) if isinstance(stored, dict) else DEFAULT
    try:
        return settings_type(name).of_stored(stored)
    except StampModelError:
        raise
    except UsageFault as fault:
        raise StampModelError(fault.message, where="stamp.name", fix=fault.hint) from None
    except (msgspec.ValidationError, TypeError, ValueError) as fault:
        raise StampModelError(f"not the settings of a method: {fault}", where="stamp") from None


def store(settings: Settings, config: Any) -> None:
    """Write settings into a transformers config, which saves them with the checkpoint; not those of the run alone."""
    told = msgspec.to_builtins(settings)
    config.stamp = {key: value for key, value in told.items() if key not in settings.training and value is not None}
