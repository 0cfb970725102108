"""YAML text to plain values, with the line of each; faults name the line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from stamp_schemas import UsageFault

DEEPEST = 20  # of a recipe it is 4

Path = tuple[str, ...]
"""Keys and list positions from the top, such as ("stages", "0", "epochs")."""


ABSENT: Any = object()
"""What stands where nothing does."""


def dotted(path: Path) -> str:
    """A path as a person writes it: `stages.0.epochs`."""
    return ".".join(path)


def at(tree: Any, path: Path) -> Any:
    """What stands at a path of nested plain values; `ABSENT` if nothing does."""
    for part in path:
        if isinstance(tree, dict) and part in tree:
            tree = tree[part]
        elif isinstance(tree, list) and part.isdecimal() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            return ABSENT
    return tree


@dataclass
class Values:
    """Nested plain values and, for each path in them, where it was written."""

    tree: dict[str, Any]
    origins: dict[Path, str] = field(default_factory=dict)

    def where(self, path: Path) -> str:
        """Where a path was written; the nearest one above it that is known otherwise."""
        while path and path not in self.origins:
            path = path[:-1]
        return self.origins.get(path, "recipe")

    def take(self, path: Path) -> Any:
        """Take out what a section has under a key, and return it; `ABSENT` if it has nothing."""
        section = at(self.tree, path[:-1])
        return section.pop(path[-1], ABSENT) if isinstance(section, dict) else ABSENT


def read_yaml(text: str, name: str) -> Values:
    """Parse one YAML document whose top is a mapping.

    UsageFault: not YAML, no mapping, nested too deep, an alias, or a key that is given twice (which YAML libraries pass over
    in silence).
    """
    try:
        _check_events(text, name)
        loader = _Loader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise UsageFault(f"{name}: not a mapping of keys to values", "see `stamp-train recipes stamp-2b`")
        values = Values({})
        _walk(node, (), name, values.origins)
        values.tree = loader.construct_document(node)
    except yaml.YAMLError as fault:
        mark = getattr(fault, "problem_mark", None)
        reason = getattr(fault, "problem", None) or str(fault).splitlines()[0]
        raise UsageFault(f"{name}{f':{mark.line + 1}' if mark else ''}: not YAML: {reason}") from None
    return values


class _Loader(yaml.SafeLoader):
    """Says where a date or a number that is none stands, instead of what it trips over."""

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, AttributeError, LookupError):
            kind = node.tag.rpartition(":")[2]
            problem = f"{str(node.value)[:40]!r} is no value of the kind {kind}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


def _check_events(text: str, name: str) -> None:
    """Refuse what a few characters could make any amount of values of, before a value is made."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        where = f"{name}:{event.start_mark.line + 1}" if event.start_mark else name
        if isinstance(event, yaml.AliasEvent):
            raise UsageFault(f"{where}: *{event.anchor}: a recipe has no aliases", "write the value where it is used")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise UsageFault(f"{where}: nested more than {DEEPEST} deep")


def _walk(node: yaml.Node, path: Path, name: str, origins: dict[Path, str]) -> None:
    origins[path] = f"{name}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, str(key.value))
            if below in origins:
                raise UsageFault(f"{name}:{key.start_mark.line + 1}: {dotted(below)} is given twice")
            _walk(value, below, name, origins)
            origins[below] = f"{name}:{key.start_mark.line + 1}"
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _walk(value, (*path, str(number)), name, origins)
