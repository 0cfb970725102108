"""Numbers from other people's files: spreadsheets write 120.0 for 120, and scripts write "120"."""

from __future__ import annotations

import re

_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
LONGEST = 40  # characters of a number in a text
LARGEST = 1e300


def real(value: object) -> float:
    """A number, or a text that is one, as float; ValueError if it is neither, NaN or without end."""
    if isinstance(value, str) and len(value) <= LONGEST and _DECIMAL.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, str):
        raise ValueError(f"{value[:LONGEST]!r} is no number")
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST < value < LARGEST:
        raise ValueError("no number, or one without end")
    return float(value)


def whole(value: object) -> int:
    """An integer, as such or as a float or a text; ValueError if it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not (number := real(value)).is_integer():
        raise ValueError(f"{number:g} is no whole number")
    return int(number)


def name(value: float | str) -> str:
    """An id as text: 7, 7.0 and "7" are the same."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
