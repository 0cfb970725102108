"""Keys of older recipes and run folders, put where they stand now."""

from __future__ import annotations

from typing import Any

from stamp_schemas import UsageFault
from stamp_train.methods import MOVED as MOVED_TO_METHODS
from stamp_train.recipes.source import Path, Values, dotted

MOVED: dict[str, tuple[str, Any]] = {
    **MOVED_TO_METHODS,
    "optimizer.rest": ("optimizer.adamw_ratio", None),
    "data.max_bad_share": ("data.max_bad_ratio", None),
    "evaluation.pictures": ("evaluation.images", None),
}
"""Older key -> where it stands now, and the value with which it says nothing."""


def moved(path: Path) -> Path:
    """Where a key stands now."""
    new, _ = MOVED.get(dotted(path), (dotted(path), None))
    return tuple(new.split("."))


def move_keys(values: Values) -> None:
    """Move what stands under older keys, with where it was written; what says nothing is left out.

    Raises UsageFault if the new key is given as well.
    """
    for old, (new, silent) in MOVED.items():
        before, after = tuple(old.split(".")), tuple(new.split("."))
        section = _section(values.tree, before[:-1])
        if section is None or before[-1] not in section:
            continue
        where = values.where(before)
        value = section.pop(before[-1])
        if value == silent or str(value).lower() == str(silent).lower():
            continue
        if (at := _section(values.tree, after[:-1])) and after[-1] in at:
            raise UsageFault(f"{where}: {old} is {new} now, which is given too", f"leave {old} out")
        _put(values.tree, after, value)
        values.origins[after] = where
    scratch = _section(values.tree, ("model", "scratch"))
    if scratch == {}:
        del values.tree["model"]["scratch"]


def _section(tree: Any, path: Path) -> dict[str, Any] | None:
    for part in path:
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree if isinstance(tree, dict) else None


def _put(tree: dict[str, Any], path: Path, value: Any) -> None:
    for part in path[:-1]:
        if tree.get(part) is None:
            tree[part] = {}
        elif isinstance(tree[part], str) and part == "method":
            tree[part] = {"name": tree[part]}
        tree = tree[part]
    tree[path[-1]] = value
