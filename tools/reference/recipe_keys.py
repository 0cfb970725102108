"""Every key of a recipe: what it takes, what it is if nothing is said, and what it means."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect as kinds

from stamp_schemas.recipe import Recipe
from stamp_train.methods import METHODS, settings_type
from tools.reference.markdown import code, table

METHOD = "method"


def page() -> str:
    parts = [
        "# Recipe keys",
        "A recipe is a YAML file. `stamp-train recipes NAME` prints one in full, with where each value came from; "
        "`--set KEY=VALUE` changes one, such as `--set optimizer.learning_rate=1e-5`; items of lists go by their number, "
        "`--set stages.0.steps=100`. A key that is not here is refused.",
    ]
    for prefix, struct in sections(Recipe):
        parts += _section(code(prefix) if prefix else "The recipe itself", prefix, struct)
    for name in METHODS:
        kind = settings_type(name)
        parts += _section(f"`{METHOD}` with `name: {name}`", METHOD, kind)
        for prefix, struct in list(sections(kind, METHOD))[1:]:
            parts += _section(f"{code(prefix)} of `{name}`", prefix, struct)
    return "\n\n".join(parts)


def sections(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """(keys that lead to it, section), of a struct and of all below it."""
    yield prefix, struct
    for field in msgspec.structs.fields(struct):
        for below in _structs(kinds.type_info(field.type)):
            many = isinstance(kinds.type_info(field.type), kinds.ListType)
            yield from sections(below, ".".join(filter(None, (prefix, field.name, "N" if many else ""))))


def keys(prefix: str, struct: type[msgspec.Struct]) -> list[tuple[str, str, str, str]]:
    """(key, what it takes, default, meaning) of each key of a section that is none itself."""
    _, meanings = meaning(struct)
    return [
        (".".join(filter(None, (prefix, field.name))), _takes(kinds.type_info(field.type)), _default(field),
         meanings.get(field.name, ""))
        for field in msgspec.structs.fields(struct)
        if not list(_structs(kinds.type_info(field.type))) and field.name != METHOD
    ]  # fmt: skip


def meaning(struct: type[msgspec.Struct]) -> tuple[str, dict[str, str]]:
    """What a docstring says of the whole, and of each key: `key: what it means. other, third: what they mean.`"""
    text = " ".join((inspect.getdoc(struct) or "").split())
    names = "|".join(sorted(struct.__struct_fields__, key=len, reverse=True))
    heads = list(re.finditer(rf"(?:^|(?<=[.;] ))((?:{names})(?:, (?:{names}))*)(?: of \w+)?: ", text))
    whole = text[: heads[0].start()] if heads else text
    found = {}
    for head, following in zip(heads, [*heads[1:], None], strict=True):
        said = text[head.end() : following.start() if following else len(text)].strip()
        found.update(dict.fromkeys(head[1].split(", "), said))
    return whole.strip(), found


def _section(title: str, prefix: str, struct: type[msgspec.Struct]) -> list[str]:
    whole, _ = meaning(struct)
    rows = [(code(key), takes, default, said) for key, takes, default, said in keys(prefix, struct)]
    return [f"## {title}", whole, *([table(("key", "takes", "default", "meaning"), rows)] if rows else [])]


def _structs(kind: kinds.Type) -> Iterator[type[msgspec.Struct]]:
    if isinstance(kind, kinds.StructType):
        yield kind.cls
    elif isinstance(kind, kinds.ListType):
        yield from _structs(kind.item_type)
    elif isinstance(kind, kinds.UnionType):
        for one in kind.types:
            yield from _structs(one)


def _takes(kind: kinds.Type) -> str:
    match kind:
        case kinds.Metadata():
            return _takes(kind.type)
        case kinds.LiteralType():
            return ", ".join(f"`{value}`" if value != "" else "nothing" for value in kind.values)
        case kinds.IntType():
            return "whole number" + (f" from {kind.ge}" if kind.ge is not None else "")
        case kinds.FloatType() if kind.gt is not None:
            return f"number above {kind.gt:g}"
        case kinds.FloatType() if kind.le is not None:
            return f"number, {kind.ge or 0:g} to {kind.le:g}"
        case kinds.FloatType():
            return "number" + (f" from {kind.ge:g}" if kind.ge is not None else "")
        case kinds.BoolType():
            return "`true`, `false`"
        case kinds.ListType() | kinds.VarTupleType():
            return f"list of: {_takes(kind.item_type)}"
        case kinds.TupleType():
            return " and ".join(map(_takes, kind.item_types))
        case kinds.UnionType():
            return " or ".join(_takes(one) for one in kind.types if not isinstance(one, kinds.NoneType))
        case kinds.DictType():
            return "section"
        case _:
            return "text"


def _default(field: Any) -> str:
    made = field.default_factory is not msgspec.NODEFAULT
    value = field.default_factory() if made else field.default
    if value is msgspec.NODEFAULT:
        return "needed"
    return code(msgspec.json.encode(value).decode().strip('"')) if value not in ("", None) else ""
