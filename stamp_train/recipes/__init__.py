"""Recipes: one YAML file per experiment, read with `resolve`, whose every value knows where it came from."""

from stamp_train.recipes.resolve import Resolved, changes, names, resolve

__all__ = ["Resolved", "changes", "names", "resolve"]
