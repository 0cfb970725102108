"""YAML text to plain values, with the line of each; faults name the line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from stamp_schemas import UsageFault

Path = tuple[str, ...]
"""Keys and list positions from the top, such as ("stages", "0", "epochs")."""


def dotted(path: Path) -> str:
    """A path as a person writes it: `stages.0.epochs`."""
    return ".".join(path)


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


def read_yaml(text: str, name: str) -> Values:
    """Parse one YAML document whose top is a mapping.

    Raises:
        UsageFault: not YAML, no mapping, or a key that is given twice (which YAML libraries pass over in silence).
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise UsageFault(f"{name}: not a mapping of keys to values", "see `stamp-train recipes stamp-2b`")
        values = Values({})
        _walk(node, (), name, values.origins)
        values.tree = loader.construct_document(node)
    except yaml.MarkedYAMLError as fault:
        line = fault.problem_mark.line + 1 if fault.problem_mark else 0
        raise UsageFault(f"{name}:{line}: not YAML: {fault.problem}") from None
    except yaml.YAMLError as fault:
        raise UsageFault(f"{name}: not YAML: {fault}") from None
    finally:
        loader.dispose()
    return values


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
