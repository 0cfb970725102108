"""Grids of a mask as row-wise run-length text, and back: Text4Seg's format (arXiv:2410.09855), faults of its parser included.

A grid is uint8 [side, side], 0 or 1. A run is `label *count`, the runs of a row are joined by `| `, rows by a line break and
a space, and a line break ends the last: `others *2| dog *2` is a row of four. An answer holds it between `<seg>` and `</seg>`,
which are plain text.
"""

from __future__ import annotations

import re
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

OPEN, CLOSE = "<seg>", "</seg>"
BACKGROUND = "others"
FIXED = "object"  # the label that any mask may have
PARSERS = ("published", "tolerant")

Grid = NDArray[np.uint8]
# The end of a run: its count, and a bar, a line break or the end of the text. Before it is the label, bars, stars and all.
_COUNT = re.compile(r"\*[ ]{0,2}(?P<count>\d{1,9})[ ]{0,2}(?P<end>\||\n|\Z)")


def encode(grid: Grid, label: str) -> str:
    """The rows of a grid as text; `label` stands for its ones, `others` for its zeros."""
    names = (BACKGROUND, label)
    rows = ([names[cell] for cell in row] for row in grid.tolist())
    return "\n ".join("| ".join(f"{name} *{len(list(run))}" for name, run in groupby(row)) for row in rows) + "\n"


def enclosed(grid: Grid, label: str) -> str:
    """`encode` between `<seg>` and `</seg>`: what stands in an answer for one mask."""
    return f"{OPEN}{encode(grid, label)}{CLOSE}"


def parse(text: str, side: int, parser: str) -> Grid:
    """The grid of the first mask of a text, whatever is wrong with it; all zeros if nothing can be read.

    `published` gives what the published evaluation gives, its faults too: without an `others` the label that comes first is
    background, so that a mask of the whole picture comes out empty; too few cells are filled up with the last, and one run
    that is no `label *count` loses the mask. `tolerant` reads each row by itself, so that one fault stays in its row, and only
    `others`, in letters of any size, is background. A text that breaks off before `</seg>` is read as far as it goes.
    """
    return _published(text, side) if parser == "published" else _tolerant(text, side)


def survives(expression: str) -> bool:
    """Whether both parsers give back a mask whose label is this expression."""
    # It begins with the label and ends without.
    probe = np.array([[1, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0]], np.uint8)
    text = enclosed(probe, expression)
    return all(np.array_equal(parse(text, len(probe), parser), probe) for parser in PARSERS)


def _published(text: str, side: int) -> Grid:
    cells = _published_cells(text, side * side)
    if not cells:
        return np.zeros((side, side), np.uint8)
    background = BACKGROUND if BACKGROUND in cells else cells[0]
    ones = [cell != background for cell in cells[: side * side]]
    ones += [ones[-1]] * (side * side - len(ones))
    return np.array(ones, np.uint8).reshape(side, side)


def _published_cells(text: str, most: int) -> list[str]:
    """The label of every cell; none if a run is malformed. Of those beyond `most` one is kept of each run: that it is there."""
    _, found, rest = text.partition(OPEN)
    if not found:
        return []
    body = rest.split(OPEN)[0].split(CLOSE)[0].strip("\n")
    cells: list[str] = []
    for run in (run for row in body.split("\n ") for run in row.split("| ")):
        parts = run.split(" *")
        if len(parts) != 2:
            return []
        try:
            count = int(parts[1])  # takes digits of any script, underscores and spaces around, as there
        except ValueError:
            return []
        cells += [parts[0]] * min(count, max(1, most - len(cells)))
    return [cell.strip() for cell in "|".join(cells).split("|")]


def _tolerant(text: str, side: int) -> Grid:
    body = text.partition(OPEN)[2].split(CLOSE)[0].strip("\n")
    grid = np.zeros((side, side), np.uint8)
    row, column, last, begin = 0, 0, 0, 0
    for run in _COUNT.finditer(body):
        if row == side:
            break
        last = int(body[begin : run.start()].strip().casefold() != BACKGROUND)
        begin = run.end()
        grid[row, column : column + int(run["count"])] = last
        column += int(run["count"])
        if run["end"] == "\n":
            grid[row, column:] = last
            row, column = row + 1, 0
    if column:
        grid[row, column:] = last
    return grid
