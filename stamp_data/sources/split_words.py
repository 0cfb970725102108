"""Splits as files and folders are called by them."""

from __future__ import annotations

import re

WORD = re.compile(r"(?<![a-z])(train|val|testA|testB|testC|test|dev|minival)(?:id|idation|ing)?(\d{4})?(?![a-z])")
"""The split (group 1) and the year that may follow it, within a name such as `instances_val2017`."""


def split_of_folders(path: str, otherwise: str) -> str:
    """The split that the folders of a relative path are called by, the innermost first; `otherwise` if none is."""
    matches = (WORD.fullmatch(folder) for folder in reversed(path.split("/")[:-1]))
    return next((match[1] for match in matches if match), otherwise)
