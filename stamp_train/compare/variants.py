"""What can be compared: methods by a name, each with the settings that the recipe's `method:` is replaced by."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import replace

from stamp_schemas import UsageFault
from stamp_train.methods import METHODS, VARIANTS, settings_type
from stamp_train.recipes import Resolved, resolve

ALL = "all"


def available() -> list[str]:
    """The names whose methods are there."""
    return [name for name, told in VARIANTS.items() if told["name"] in METHODS]


def title(name: str) -> str:
    """What the method of a variant is, in a few words."""
    return settings_type(VARIANTS[name]["name"]).title


def chosen(names: Sequence[str]) -> list[str]:
    """The variants of a call; `all` stands for every one that is there.

    UsageFault: none is named, one is not known or named twice, or its method is not there.
    """
    listed = f"there are {', '.join(available())}; `stamp-train compare --methods` says what they are"
    found = [one for name in names for one in (available() if name == ALL else [name])]
    if not found:
        raise UsageFault("no methods to compare", listed)
    for number, name in enumerate(found):
        if name not in VARIANTS:
            near = difflib.get_close_matches(name, available(), 1)
            raise UsageFault(f"no variant {name!r} of a method", f"did you mean {near[0]}?" if near else listed)
        if VARIANTS[name]["name"] not in METHODS:
            raise UsageFault(f"{name}: method {VARIANTS[name]['name']} is not in this version", listed)
        if name in found[:number]:
            raise UsageFault(f"{name} is named twice", "name each variant once")
    return found


def plain(recipe: str, overrides: Sequence[str] = ()) -> Resolved:
    """The recipe that all variants share. UsageFault: as `resolve`, or for overrides of what a comparison sets itself."""
    for override in overrides:
        if override.partition("=")[0].strip().partition(".")[0] == "method":
            raise UsageFault(f"--set {override}: a comparison sets the method itself", "leave it out")
    return resolve(recipe, overrides)


def recipe_of(recipe: str, overrides: Sequence[str], name: str, seed: int) -> Resolved:
    """The recipe of one run: that of all with a seed, and the variant's method for its own. UsageFault: as `plain`."""
    own = [f"method={json.dumps(VARIANTS[name])}", f"seed={seed}"]
    return replace(resolve(recipe, [*overrides, *own]), name=f"{name}-seed-{seed}")
