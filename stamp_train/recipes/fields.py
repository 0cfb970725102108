"""What a recipe may contain, read off its structs: which keys there are, and which one a wrong key was meant to be."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from stamp_schemas import UsageFault
from stamp_train.recipes.source import Path, Values, dotted


def fields_of(kind: Any) -> dict[str, Any]:
    """Field -> type of a struct, without the `Annotated` around types; empty for anything else."""
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return {}
    tag = kind.__struct_config__.tag_field
    names = {tag: str} if tag else {}
    hints = get_type_hints(kind, include_extras=True)
    return names | {name: _bare(hints[name]) for name in kind.__struct_fields__}


def items_of(kind: Any) -> Any:
    """What a list type is a list of; None for anything else."""
    return _bare(get_args(kind)[0]) if get_origin(kind) is list else None


def choices_at(kind: Any, path: Path) -> tuple[Any, ...]:
    """The values that may stand at a path of the struct `kind`; empty if they cannot be listed."""
    for part in path:
        kind = items_of(kind) if part.isdecimal() else fields_of(kind).get(part)
    return get_args(kind) if get_origin(kind) is Literal else ()


def _bare(kind: Any) -> Any:
    """Without `Annotated`."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def check_keys(values: Values, kind: Any) -> None:
    """UsageFault for the first key that the struct `kind` does not have, with where it was written and what was probably
    meant.
    """
    _check(values.tree, kind, (), values)


def _check(tree: Any, kind: Any, path: Path, values: Values) -> None:
    fields, items = fields_of(kind), items_of(kind)
    if fields and isinstance(tree, dict):
        for key, value in tree.items():
            if key not in fields:
                raise unknown_key((*path, str(key)), kind, values.where((*path, str(key))))
            _check(value, fields[key], (*path, key), values)
    elif items is not None and isinstance(tree, list):
        for number, value in enumerate(tree):
            _check(value, items, (*path, str(number)), values)


def unknown_key(path: Path, kind: Any, where: str) -> UsageFault:
    """The fault for a key that `kind` does not have: with the nearest one here, or the same one in another section."""
    known = list(fields_of(kind))
    near = [dotted((*path[:-1], name)) for name in difflib.get_close_matches(path[-1], known, 1)]
    if not near and len(path) == 1:
        near = [f"{section}.{path[-1]}" for section, inner in fields_of(kind).items() if path[-1] in fields_of(inner)]
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
    return UsageFault(f"{where}: no key {dotted(path)} in a recipe", hint)
