"""Keys of older recipes and run folders: put where they stand now, or refused where they are no more."""

from __future__ import annotations

from typing import Any

from stamp_schemas import UsageFault
from stamp_train.methods import GONE as GONE_FROM_METHODS
from stamp_train.methods import MOVED as MOVED_TO_METHODS
from stamp_train.recipes.source import ABSENT, Path, Values, at, dotted

MOVED = {
    **MOVED_TO_METHODS,
    "data.max_bad_share": "data.max_bad_ratio",
    "evaluation.pictures": "evaluation.images",
}
"""Older key -> where it stands now."""
GONE: dict[str, Any] = {
    **GONE_FROM_METHODS,
    "optimizer.kind": "adamw",
    "optimizer.adamw_ratio": 1.0,
    "optimizer.rest": 1.0,
    "stages.*.schedule": "",
}
"""Key that is no more -> the value with which it said nothing; the star is for any place of a list."""


def moved(path: Path) -> Path:
    """Where a key of a call stands now; UsageFault if it is no more."""
    parts = ["*" if part.isdecimal() else part for part in path]
    for end in range(len(parts)):
        if dotted(tuple(parts[: end + 1])) in GONE:
            raise _gone(path, "--set")
    return tuple(MOVED.get(dotted(path), dotted(path)).split("."))


def move_keys(values: Values) -> None:
    """Move what stands under older keys, with where it was written, and leave out those that are no more and say nothing.

    Raises UsageFault if the new key is given as well, or if a key that is no more says something.
    """
    for path in list(values.origins):
        pattern = dotted(tuple("*" if part.isdecimal() else part for part in path))
        if pattern in GONE and values.take(path) not in (ABSENT, GONE[pattern]):
            raise _gone(path, values.where(path))
    if at(values.tree, ("model", "scratch")) == {}:
        del values.tree["model"]["scratch"]
    for old, new in MOVED.items():
        before, after = tuple(old.split(".")), tuple(new.split("."))
        value, where = values.take(before), values.where(before)
        if value is ABSENT:
            continue
        section = at(values.tree, after[:-1])
        if section is not ABSENT and section is not None and not isinstance(section, dict):
            raise UsageFault(f"{values.where(after[:-1])}: {dotted(after[:-1])} is no section, which {new} is a key of")
        if at(values.tree, after) is not ABSENT:
            raise UsageFault(f"{where}: {old} is {new} now, which is given too", f"leave {old} out")
        _put(values.tree, after, value)
        values.origins[after] = where


def _gone(path: Path, where: str) -> UsageFault:
    return UsageFault(
        f"{where}: {dotted(path)} is gone, with all that only networks with random weights used",
        "leave it out and begin a new run; one that has it goes on in the version that began it",
    )


def _put(tree: dict[str, Any], path: Path, value: Any) -> None:
    for part in path[:-1]:
        if tree.get(part) is None:
            tree[part] = {}
        tree = tree[part]
    tree[path[-1]] = value
