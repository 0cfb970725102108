"""A recipe by name or file, with `--set` on top: validated, and with the origin of every value."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path as File
from typing import Any

import msgspec
import yaml

from stamp_schemas import UsageFault
from stamp_schemas.recipe import Recipe
from stamp_train.methods import DEFAULT, settings_type
from stamp_train.recipes.fields import check_keys, choices_at, fields_of, items_of, unknown_key
from stamp_train.recipes.moved import move_keys, moved
from stamp_train.recipes.source import ABSENT, Path, Values, at, dotted, read_yaml

LARGEST = 200_000  # bytes; those that come with the package have 3,000
_HERE = files("stamp_train.recipes")
_AT = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<where>[^`]*)`)?$", re.DOTALL)


@dataclass(frozen=True)
class Resolved:
    """A recipe ready to run.

    name: of the recipe, for the run folder. recipe: its values. origins: for every value, by dotted path, where it came from:
    `FILE:LINE`, `--set` or `default`.
    """

    name: str
    recipe: Recipe
    origins: dict[str, str]

    def leaves(self) -> dict[str, Any]:
        """Every value by dotted path, in the order of the schema."""
        return dict(_leaves(msgspec.to_builtins(self.recipe), ()))

    def yaml(self) -> str:
        """The recipe as YAML that can be run again, every value with its origin as a comment."""
        lines = [f"# {self.name}, resolved", *_lines(msgspec.to_builtins(self.recipe), (), self.origins)]
        return "\n".join(lines) + "\n"


def changes(before: Resolved, after: Resolved) -> list[str]:
    """What differs between two recipes, one line for each value."""
    old, new = before.leaves(), after.leaves()
    return [
        f"{key}: {old.get(key, 'absent')} -> {new.get(key, 'absent')}"
        for key in dict.fromkeys([*old, *new])
        if old.get(key) != new.get(key)
    ]


def names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _HERE.iterdir() if entry.name.endswith(".yaml"))


def resolve(recipe: str, overrides: Sequence[str] = ()) -> Resolved:
    """Read a recipe and lay overrides over it.

    recipe: name of one that comes with the package, or a YAML file. overrides: `a.b=c`; `stages.0.epochs=1` reaches into a
    list, and a value in brackets or braces is read as YAML. UsageFault: no such recipe, an unknown key (with the likely one),
    or a value of the wrong type or size.

    >>> found = resolve("stamp-2b", ["optimizer.learning_rate=1e-5"])
    >>> found.recipe.optimizer.learning_rate, found.origins["optimizer.learning_rate"]
    (1e-05, '--set')
    """
    name, label, text = _read(recipe)
    values = read_yaml(text, label)
    _spell_method(values)
    move_keys(values)
    for override in overrides:
        _lay_over(values, override)
    kind = _kind(values)
    check_keys(values, kind)
    try:
        # Lax: YAML 1.1 reads 3e-5 as a text, and so are all values of --set.
        found = msgspec.convert(values.tree, kind, strict=False)
    except msgspec.ValidationError as fault:
        raise _located(str(fault), values, label, kind) from None
    except UnicodeEncodeError:
        raise UsageFault(
            f"{label}: a text holds half of a surrogate pair", "write it as UTF-8, without escapes"
        ) from None
    origins = {
        dotted(path): "default" if at(values.tree, path) is ABSENT else values.where(path)
        for path in (tuple(leaf.split(".")) for leaf, _ in _leaves(msgspec.to_builtins(found), ()))
    }
    return Resolved(name, found, origins)


def _kind(values: Values) -> type[Recipe]:
    """The type of a recipe with the method that it names."""
    told = values.tree.get("method")
    name = told.get("name", DEFAULT) if isinstance(told, dict) else DEFAULT
    try:
        return _recipe_type(name if isinstance(name, str) else str(name))
    except UsageFault as fault:
        raise UsageFault(f"{values.where(('method', 'name'))}: {fault.message}", fault.hint) from None


def _spell_method(values: Values) -> None:
    """A method that is given by its name alone becomes a section, which may be given more."""
    if isinstance(told := values.tree.get("method"), str):
        values.tree["method"] = {"name": told}


@lru_cache
def _recipe_type(name: str) -> type[Recipe]:
    """A recipe whose `method` are the settings of that one."""
    kind = settings_type(name)
    method = [("method", kind, kind())]
    strict: Any = {"frozen": True, "kw_only": True, "forbid_unknown_fields": True}
    found: Any = msgspec.defstruct("Recipe", method, bases=(Recipe,), **strict)
    return found  # type: ignore[no-any-return]  # a subclass, as its base says


def _read(recipe: str) -> tuple[str, str, str]:
    """(name, label in messages, text) of a recipe."""
    if recipe in names():
        return recipe, f"{recipe}.yaml", _HERE.joinpath(f"{recipe}.yaml").read_text(encoding="utf-8")
    file = File(recipe)
    try:
        with file.open("rb") as source:
            data = source.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise UsageFault(f"{recipe}: more than {LARGEST:,} bytes are no recipe")
        return file.stem, file.name, data.decode()
    except FileNotFoundError:
        near = difflib.get_close_matches(recipe, names(), 1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names())}, or give a YAML file"
        raise UsageFault(f"no recipe {recipe!r}", hint) from None
    except (OSError, UnicodeDecodeError) as fault:
        raise UsageFault(f"{recipe}: not a readable recipe: {fault}") from None


def _lay_over(values: Values, override: str) -> None:
    """Put one `a.b=c` into the values."""
    key, equals, text = override.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise UsageFault(f"--set {override!r} is not KEY=VALUE", "for example --set optimizer.learning_rate=1e-5")
    path = moved(path)
    tree: Any = values.tree
    kind: Any = Recipe
    for depth, part in enumerate(path):
        here = path[: depth + 1]
        if isinstance(tree, list):
            if not part.isdecimal() or int(part) >= len(tree):
                raise UsageFault(f"--set {dotted(path)}: {dotted(path[:depth])} has {len(tree)} items, counted from 0")
            kind, index = items_of(kind), int(part)
        else:
            if kind is not Any and part not in fields_of(kind):
                raise unknown_key(here, kind, "--set")
            if not isinstance(tree, dict):
                raise UsageFault(f"--set {dotted(path)}: {dotted(path[:depth])} is {tree!r}, which has no keys")
            kind, index = fields_of(kind).get(part, Any), part  # type: ignore[assignment]
            if depth < len(path) - 1 and tree.get(part) is None:
                tree[part] = {}
        if depth == len(path) - 1:
            tree[index] = _value(text, override)
        tree = tree[index]
    for known in [known for known in values.origins if known[: len(path)] == path]:
        del values.origins[known]
    values.origins[path] = "--set"
    _spell_method(values)


def _value(text: str, override: str) -> Any:
    """Lists and mappings are YAML; anything else stays text, which the schema turns into what it should be."""
    if not text.startswith(("[", "{")):
        return text
    try:
        return read_yaml(f"value: {text}", "value").tree["value"]
    except UsageFault as fault:
        raise UsageFault(f"--set {override[:60]!r}: {fault.message.partition(': ')[2]}", fault.hint) from None


def _located(message: str, values: Values, label: str, kind: type[Recipe]) -> UsageFault:
    """msgspec's complaint with the line of what it complains about."""
    found = _AT.match(message)
    what, at = (found["what"], found["where"] or "") if found else (message, "")
    path = tuple(part for part in re.split(r"[.\[\]]+", at) if part)
    place = values.where(path) if path else label
    choices = choices_at(kind, path)
    hint = f"choose one of {', '.join(repr(choice) for choice in choices)}" if choices else ""
    return UsageFault(f"{place}: {dotted(path) or 'recipe'}: {what[:1].lower()}{what[1:]}", hint)


def _leaves(tree: Any, path: Path) -> list[tuple[str, Any]]:
    if isinstance(tree, dict):
        return [leaf for key, value in tree.items() for leaf in _leaves(value, (*path, key))]
    if isinstance(tree, list | tuple) and tree and isinstance(tree[0], dict):
        return [leaf for number, value in enumerate(tree) for leaf in _leaves(value, (*path, str(number)))]
    return [(dotted(path), tree)]


def _lines(tree: dict[str, Any], path: Path, origins: dict[str, str]) -> list[str]:
    lines = []
    indent = "  " * len(path)
    for key, value in tree.items():
        here = (*path, key)
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *_lines(value, here, origins)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append(f"{indent}{key}:")
            for number, item in enumerate(value):
                inner = _lines(item, (*here, str(number)), origins)
                # Two levels of path, one of them a list position: the item's first line carries its dash.
                lines += [f"{inner[0][: len(indent)]}  - {inner[0].lstrip()}", *inner[1:]]
        else:
            lines.append(f"{indent}{key}: {_scalar(value)}  # {origins[dotted(here)]}")
    return lines


def _scalar(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
