"""Colours of targets: told apart with any kind of colour vision, and the same for a target in every renderer."""

from __future__ import annotations

from collections.abc import Sequence

from xxhash import xxh3_64_intdigest

# After Okabe and Ito, without black and with the yellow darkened so that it shows on white.
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#0072b2", "#b8a800")
MISSED, EXTRA = "#e6194b", "#2f7bff"  # of the mask, but not of its patches; and the other way round


def colours(ids: Sequence[str]) -> list[str]:
    """A colour (#rrggbb) per target, from the hash of its id; moved on where another target of the list has it already."""
    taken: list[str] = []
    for name in ids:
        start = xxh3_64_intdigest(name.encode()) % len(COLOURS)
        order = [COLOURS[(start + step) % len(COLOURS)] for step in range(len(COLOURS))]
        taken.append(next((colour for colour in order if colour not in taken), order[0]))
    return taken


def rgb(colour: str) -> tuple[int, int, int]:
    """(red, green, blue), 0–255, of #rrggbb."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
