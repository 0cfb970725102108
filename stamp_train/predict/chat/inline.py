"""Pictures within a terminal: by its own protocol where it has one, else in coloured half blocks.

Protocols: https://sw.kovidgoyal.net/kitty/graphics-protocol/ (f=100: PNG) and https://iterm2.com/documentation-images.html.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Literal

from PIL import Image
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from stamp_data.pixels import encoded

Way = Literal["auto", "kitty", "iterm", "blocks", "off"]
COLUMNS, ROWS = 72, 22  # most cells of a picture
PIXELS = 960  # most pixels along one side of a picture that is sent to the terminal
CHUNK = 4096  # most characters of base64 in one of kitty's commands


def best_way(console: Console, environ: Mapping[str, str]) -> Way:
    """How a console can show pictures, by what terminals say about themselves in the environment."""
    if not console.is_terminal or console.no_color or console.color_system is None:
        return "off"
    program = environ.get("TERM_PROGRAM", "")
    if "TMUX" in environ or environ.get("TERM", "").startswith("screen"):
        return "blocks"  # multiplexers pass no pictures through
    if "KITTY_WINDOW_ID" in environ or environ.get("TERM") == "xterm-kitty" or program == "ghostty":
        return "kitty"
    if program in ("iTerm.app", "WezTerm") or environ.get("LC_TERMINAL") == "iTerm2":
        return "iterm"
    return "blocks"


def show_image(image: Image.Image, console: Console, way: Way) -> None:
    """Show an RGB picture on a console. way: as `best_way` says, not `auto`."""
    columns = min(COLUMNS, console.width, max(1, round(2 * ROWS * image.width / image.height)))
    if way == "blocks":
        console.print(half_blocks(image, columns), end="")
    elif way in ("kitty", "iterm"):
        commands = kitty(_png(image), columns) if way == "kitty" else iterm(_png(image), columns)
        console.file.write("".join(commands) + "\n")
        console.file.flush()


def half_blocks(image: Image.Image, columns: int) -> Text:
    """A picture as lines of `▀`: two pixels to a cell, the upper one its colour, the lower one its ground."""
    rows = max(1, round(columns * image.height / image.width / 2))
    small = image.convert("RGB").resize((columns, 2 * rows), Image.Resampling.BOX)
    pixels = small.load()
    assert pixels is not None  # it has been resized
    text = Text()
    for row in range(rows):
        for column in range(columns):
            upper, lower = (Color.from_rgb(*pixels[column, 2 * row + half]) for half in (0, 1))  # type: ignore[misc]
            text.append("▀", Style(color=upper, bgcolor=lower))
        text.append("\n")
    return text


def kitty(png: bytes, columns: int) -> Iterator[str]:
    """kitty's commands that show a PNG as wide as so many columns."""
    data = base64.standard_b64encode(png).decode()
    for start in range(0, len(data), CHUNK):
        keys = f"a=T,f=100,c={columns}," if start == 0 else ""
        more = int(start + CHUNK < len(data))
        yield f"\x1b_G{keys}m={more};{data[start : start + CHUNK]}\x1b\\"


def iterm(png: bytes, columns: int) -> Iterator[str]:
    """iTerm2's command that shows a PNG as wide as so many columns."""
    data = base64.standard_b64encode(png).decode()
    yield f"\x1b]1337;File=inline=1;size={len(png)};width={columns};preserveAspectRatio=1:{data}\a"


def _png(image: Image.Image) -> bytes:
    small = image.convert("RGB")
    small.thumbnail((PIXELS, PIXELS))
    return encoded(small)
